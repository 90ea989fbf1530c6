"""Rows of ``feedback``: what a user really sent instead of a draft, what was learned from it, and what else they say.

A thumb says of an answer that it is right or wrong, and not what would be right. So the kinds are kept apart: none
replaces another, and who reads edits gets no thumbs. What each kind is made of stands in `given.py`.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from preference import demonstrations, idempotency, jobs, preferences, signals, turns, usage, users
from preference.distance import normalised_distance
from preference.errors import Conflict, IdempotencyConflict, Invalid, NotFound
from preference.given import LEARNED, MAX_STANDING, TEXTS, Given, Type, UpOrDown, history_key, slot_of
from preference.owner import Owner
from preference.rows import between, checked, findable, key, later, scope, storable
from preference.tables import feedback
from preference.tables import turns as turns_table
from preference.turns import Turn

Status = Literal["pending", "learned", "nothing_learned", "failed", "replaced"]

WEIGH_SECONDS = 60.0
"""After an outcome; those that come meanwhile are weighed with it."""
_WHY: Mapping[Type, str] = {
    "thumbs": "a thumb says not what would be better: it is kept for adapters that are trained by KTO",
    "rating": "a rating is kept as it is: adapters that are trained by KTO learn from it, by the user's own median",
    "ranking": "a ranking is kept for adapters that are trained by DPO",
    "signal": "a signal weighs what edits said of the preferences that its answer was written by",
    "outcome": "an outcome is kept, and weighs once what else explains it is taken off",
}
"""Of kinds that no job learns from: what becomes of them."""
_SEVERAL: Mapping[Type, tuple[str, str]] = {
    "comment": ("comment", "comments"),
    "rating": ("aspect", "ratings"),
    "outcome": ("name", "outcomes"),
}
"""Kinds of which several may stand of one answer: the field that tells them apart, and what they are called."""
_PASSING: tuple[Type, ...] = ("signal", "outcome")
"""Kinds of which the newest alone is kept, and that go with their turn."""
_TOLD = ("id", "completion_id", "choice", "type", "cost", "thumb", "created_at", "source", "weight")
"""What the answer to feedback holds that is left when it is deleted: no text of it."""


@dataclass(frozen=True)
class Feedback:
    """One piece of feedback: an edit has a text and its ``cost``, thumbs have a ``thumb``, other kinds ``content``.

    ``cost`` is the normalised word edit distance from draft to edited text.
    """

    id: str
    completion_id: str
    choice: int
    type: str
    edited_text: str | None
    cost: float | None
    thumb: str | None
    status: str
    reason: str | None
    learned: tuple[str, ...]
    created_at: float
    idempotency_key: str | None
    body_sha256: str
    candidates: tuple[Mapping[str, Any], ...] = ()
    content: Mapping[str, Any] | None = None
    slot: str | None = None
    source: str = "user"
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Edit:
    """An edit beside the turn it belongs to: what learning and training read.

    Of a ``comment`` the edited text is the draft. ``weight`` is in [0, 1].
    """

    feedback_id: str
    turn: Turn
    draft: str
    edited_text: str
    cost: float
    created_at: float
    comment: str | None = None
    source: str = "user"
    weight: float = 1.0


@dataclass(frozen=True)
class Thumb:
    """A thumb, up or down, beside the turn whose ``answer`` it is about: what training reads."""

    feedback_id: str
    turn: Turn
    answer: str
    up: bool
    created_at: float


def accept(
    c: Connection,
    owner: Owner,
    *,
    completion_id: str,
    edited_text: str | None = None,
    cost: float | None = None,
    thumb: UpOrDown | None = None,
    choice: int = 0,
    idempotency_key: str | None = None,
    body_sha256: str,
) -> Feedback:
    """Store an edit, or with ``thumb`` instead a thumb; see ``give``."""
    if (edited_text is None) == (thumb is None):
        raise ValueError("feedback is either an edit or a thumb")
    type: Type = "edit" if thumb is None else "thumbs"
    given = Given(type, completion_id, choice, edited_text=edited_text, cost=cost, thumb=thumb)
    return give(c, owner, given, idempotency_key=idempotency_key, body_sha256=body_sha256)


def give(
    c: Connection, owner: Owner, given: Given, *, idempotency_key: str | None = None, body_sha256: str
) -> Feedback:
    """Store what was given and queue its learning, in the caller's one transaction.

    The same ``idempotency_key`` with the same body gives the first answer again, also of what was deleted since. Newer
    feedback of a type, about the same answer and in the same slot, replaces the earlier; a signal that was given before
    is that one. ``cost`` is an edit's distance from ``draft`` where the caller found it before, so that no transaction
    waits for it. Raises ``Invalid`` (the field, ``choice``, ``Idempotency-Key``), ``NotFound`` (``completion_id``),
    ``Conflict`` (too many comments; ``user``, who has paused learning), ``IdempotencyConflict`` (``Idempotency-Key``,
    used with another body).
    """
    given.check()
    if given.type == "demonstration":
        users.ensure(c, owner)
    if not users.lock(c, owner):
        raise NotFound(f"there is no completion {given.completion_id!r} of this user", param="completion_id")
    earlier = None if idempotency_key is None else _answered(c, owner, idempotency_key, body_sha256)
    if earlier is not None:
        return earlier
    users.check_learning(c, owner)
    given, answer = _placed(c, owner, given)
    alike = _alike(given.completion_id, given.choice, given.type, given.slot)
    if given.type in _PASSING and (held := _held_already(c, owner, given, alike)) is not None:
        return held
    if (several := _SEVERAL.get(given.type)) and _standing_others(c, owner, given) >= MAX_STANDING:
        param, what = several
        raise Conflict(f"this answer has {MAX_STANDING} {what}; delete some first", param=param)
    c.execute(update(feedback).where(scope(feedback, owner), alike).values(status="replaced"))
    values = {
        "id": f"fb-{uuid.uuid4().hex}",
        "completion_id": given.completion_id,
        "choice": given.choice,
        "type": given.type,
        "edited_text": given.edited_text,
        "cost": given.cost if given.edited_text is None or given.cost is not None or answer is None
        else normalised_distance(answer, given.edited_text),
        "thumb": given.thumb,
        **_first(given.type),
        "created_at": later(c, owner, feedback.c.created_at),
        "idempotency_key": idempotency_key,
        "body_sha256": body_sha256,
        "content": None if given.content is None else dict(given.content),
        "slot": given.slot,
        "source": given.source,
        "weight": given.weight,
        "tags": list(given.tags),
        "metadata": None if given.metadata is None else dict(given.metadata),
    }  # fmt: skip
    texts = (values["edited_text"] or "", values["content"] or "", values["tags"], values["metadata"] or "")
    c.execute(insert(feedback).values(**key(owner), **values, bytes=usage.size(*texts)))
    if given.type in LEARNED:
        jobs.enqueue(c, owner, "learn", str(values["id"]))
    if given.type == "signal":
        signals.weigh(c, owner, given.completion_id)
    if given.type == "outcome" and given.slot not in jobs.under_way(c, owner, "weigh"):
        jobs.enqueue(c, owner, "weigh", given.slot or "", time.time() + WEIGH_SECONDS)
    return _feedback(values)


def _first(type: str) -> dict[str, Any]:
    """What comes of feedback at first; of kinds that no job learns from, for good."""
    why = next((why for kind, why in _WHY.items() if kind == type), None)
    return {"status": "pending" if why is None else "nothing_learned", "reason": why, "learned": []}


def _answered(c: Connection, owner: Owner, idempotency_key: str, body_sha256: str) -> Feedback | None:
    """The first answer to this key, whatever became of it since. Raises ``IdempotencyConflict``."""
    checked(idempotency_key, "Idempotency-Key", 255)
    query = select(feedback).where(scope(feedback, owner), feedback.c.idempotency_key == idempotency_key)
    earlier = c.execute(query).mappings().first()
    if earlier is not None and earlier["body_sha256"] != body_sha256:
        raise IdempotencyConflict("this Idempotency-Key was used with another body", param="Idempotency-Key")
    if earlier is not None:
        return _feedback({**earlier, **_first(earlier["type"]), "candidates": None})
    deleted = idempotency.answer_of(c, owner, idempotency_key, body_sha256)
    if deleted is None:
        return None
    return _feedback({**deleted, **_first(deleted["type"]), "edited_text": None, "body_sha256": body_sha256})


def _placed(c: Connection, owner: Owner, given: Given) -> tuple[Given, str | None]:
    """What was given, about a turn that is there; and the answer that it is about, if there is one yet."""
    if given.type == "demonstration":
        id = demonstrations.record(c, owner, given.messages, given.draft)
        return replace(given, completion_id=id), given.draft
    if given.type == "ranking":
        return _ranked(c, owner, given), None
    turn = turns.named(c, owner, given.completion_id)
    return replace(given, completion_id=turn.completion_id), _choice(turn, given.choice, "choice")


def _ranked(c: Connection, owner: Owner, given: Given) -> Given:
    """A ranking with the texts of its answers, which are all answers to one request."""
    content = given.content or {}
    param, found, held = content["param"], list[tuple[str, int]](), list[dict[str, Any]]()
    first: Turn | None = None
    for number, one in enumerate(content["ranking"]):
        try:
            turn = turns.named(c, owner, one["completion_id"])
        except NotFound as error:
            raise NotFound(error.message, param=f"{param}.{number}") from error
        first = first or turn
        if turn.request != first.request:
            raise Invalid("a ranking compares answers to one request", param=f"{param}.{number}")
        answer = _choice(turn, one["choice"], f"{param}.{number}")
        place = (turn.completion_id, one["choice"])
        if place in found:
            raise Invalid(f"{param} must name each answer once", param=f"{param}.{number}")
        found.append(place)
        held.append({"completion_id": place[0], "choice": place[1], "text": answer})
    return replace(given, completion_id=found[0][0], content={"ranking": held}, slot=slot_of(found))


def _choice(turn: Turn, choice: int, param: str) -> str:
    if not 0 <= choice < len(turn.answers):
        raise Invalid(f"the completion has {len(turn.answers)} choices, counted from 0", param=param)
    return turn.answers[choice]


def _held_already(c: Connection, owner: Owner, given: Given, alike: ColumnElement[bool]) -> Feedback | None:
    """The same said before; what says otherwise makes room, and nothing is left of it but its key."""
    rows = c.execute(select(feedback).where(scope(feedback, owner), alike)).mappings().all()
    said = (given.content, given.source, given.weight)
    standing = (row for row in rows if row["status"] != "replaced")
    same = next((row for row in standing if (row["content"], row["source"], row["weight"]) == said), None)
    if same is not None and given.type == "signal":
        return _feedback(same)
    for row in rows:
        _spend(c, owner, _feedback(row))
    c.execute(delete(feedback).where(scope(feedback, owner), alike))
    return None


def _standing_others(c: Connection, owner: Owner, given: Given) -> int:
    """What stands of one type on the same answer, in other slots."""
    about = and_(
        feedback.c.completion_id == given.completion_id, feedback.c.choice == given.choice,
        feedback.c.type == given.type, feedback.c.status != "replaced",
        func.coalesce(feedback.c.slot, "") != (given.slot or ""),
    )  # fmt: skip
    query = select(func.count()).select_from(feedback).where(scope(feedback, owner), about)
    return int(c.execute(query).scalar_one())


def draft(c: Connection, owner: Owner, completion_id: str, choice: int) -> str | None:
    """The answer that feedback on it would be about; None where ``accept`` would refuse it."""
    try:
        return turns.named(c, owner, completion_id).answers[choice]
    except (NotFound, IndexError):
        return None


def get(c: Connection, owner: Owner, id: str) -> Feedback:
    """The feedback. Raises ``NotFound`` for an id unknown to this owner."""
    query = select(feedback).where(scope(feedback, owner), feedback.c.id == id)
    row = c.execute(query).mappings().first() if findable(id) else None
    if row is None:
        raise NotFound(f"there is no feedback {id!r} of this user", param="id")
    return _feedback(row)


def page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Feedback]:
    """The next feedback created after ``after``, oldest first: for the export. No two times of a user are equal."""
    query = select(feedback).where(scope(feedback, owner), feedback.c.created_at > after)
    return [_feedback(row) for row in c.execute(query.order_by(feedback.c.created_at).limit(limit)).mappings()]


def newest(
    c: Connection,
    owner: Owner,
    *,
    after: tuple[float, str] | None = None,
    limit: int = 20,
    since: float | None = None,
    until: float | None = None,
    equal: Mapping[str, str | None] = {},
) -> list[Feedback]:
    """The user's feedback, the newest first, after the one made at ``after[0]``; ``equal`` are columns' values."""
    query = between(select(feedback).where(scope(feedback, owner)), feedback.c.created_at, since, until)
    for name, value in equal.items():
        if value is not None and not findable(value):
            return []
        query = query if value is None else query.where(feedback.c[name] == value)
    if after is not None:  # no two times of a user are equal
        query = query.where(feedback.c.created_at < after[0])
    rows = c.execute(query.order_by(feedback.c.created_at.desc()).limit(limit))
    return [_feedback(row) for row in rows.mappings()]


def resolve(
    c: Connection,
    owner: Owner,
    id: str,
    status: Status,
    reason: str | None = None,
    learned: Sequence[str] = (),
    candidates: Sequence[Mapping[str, Any]] = (),
) -> Feedback:
    """Store what came of it, once: what is not pending any more, learned or replaced, stays so. Raises ``NotFound``."""
    if not users.lock(c, owner):
        raise NotFound(f"there is no feedback {id!r} of this user", param="id")
    held = get(c, owner, id)
    if held.status != "pending":
        return held
    values = {
        "status": status,
        "reason": None if reason is None else storable(reason, "reason"),
        "learned": list(learned),
        "candidates": [dict(candidate) for candidate in candidates],
    }
    c.execute(update(feedback).where(scope(feedback, owner), feedback.c.id == id).values(values))
    return get(c, owner, id)


def erase(c: Connection, owner: Owner, id: str) -> list[str]:
    """Delete feedback, what it replaced, and what that alone has taught; the ids of all.

    Learning from it that is under way stores nothing any more. The turn that it is about stays, unless a demonstration
    made it. Raises ``NotFound``.
    """
    if not users.lock(c, owner):
        raise NotFound(f"there is no feedback {id!r} of this user", param="id")
    held = get(c, owner, id)
    alike = _alike(held.completion_id, held.choice, held.type, held.slot)
    earlier = and_(alike, feedback.c.status == "replaced", feedback.c.created_at < held.created_at)
    query = select(feedback.c.id).where(scope(feedback, owner), or_(feedback.c.id == id, earlier))
    ids = list(c.execute(query.order_by(feedback.c.created_at)).scalars())
    for gone in [get(c, owner, one) for one in ids]:
        _spend(c, owner, gone)
        _unfind(c, owner, gone)
    jobs.forget(c, owner, "learn", ids)
    turns.redact(c, owner, [taught.id for taught in preferences.withdraw(c, owner, ids)])
    c.execute(delete(feedback).where(scope(feedback, owner), feedback.c.id.in_(ids)))
    if held.type in _PASSING:
        signals.weigh(c, owner, held.completion_id)
    if held.type == "demonstration":
        turns.delete_one(c, owner, held.completion_id)
    return ids


def _spend(c: Connection, owner: Owner, gone: Feedback) -> None:
    if gone.idempotency_key is not None:
        told = {name: getattr(gone, name) for name in _TOLD}
        idempotency.spend(c, owner, gone.idempotency_key, gone.body_sha256, told)


def _unfind(c: Connection, owner: Owner, gone: Feedback) -> None:
    """Let no history say again what is deleted."""
    what = gone.edited_text if gone.type == "edit" else (gone.content or {}).get("comment")
    if what is None or gone.type not in ("edit", "comment"):
        return
    said = history_key(
        Given("edit" if gone.type == "edit" else "comment", gone.completion_id, gone.choice, slot=gone.slot), what
    )
    if idempotency.answer_of(c, owner, said, said) is None:
        idempotency.spend(c, owner, said, said, {name: getattr(gone, name) for name in _TOLD})


def edits(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Edit]:
    """The newest ``limit`` edits, oldest first; without replaced ones, those without weight, and those of cut answers.

    A demonstration counts as an edit of what would have been answered.
    """
    return [_edit(row) for row in _newest(c, owner, TEXTS, limit)]


def edit_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Edit]:
    """The next of these edits created after ``after``, oldest first: for the export."""
    return [_edit(row) for row in _next(c, owner, TEXTS, after, limit)]


def thumbs(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Thumb]:
    """The newest ``limit`` thumbs, oldest first; without the replaced ones and those of answers cut short."""
    return [_thumb(row) for row in _newest(c, owner, ("thumbs",), limit)]


def thumb_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Thumb]:
    """The next of these thumbs created after ``after``, oldest first: for the export."""
    return [_thumb(row) for row in _next(c, owner, ("thumbs",), after, limit)]


def pending_edit(c: Connection, owner: Owner, id: str) -> Edit | None:
    """The edit with its turn while it still waits to be learned from, else None (resolved, replaced, or erased).

    A demonstration and a comment, too.
    """
    query = _of_turn(_with_turn(), owner).where(feedback.c.id == id, feedback.c.status == "pending")
    row = c.execute(query).mappings().first()
    return None if row is None else _edit(row)


def drafted(c: Connection, owner: Owner, id: str, draft: str) -> None:
    """Say what a demonstration cost, now that there is a draft to compare it with."""
    held = get(c, owner, id)
    cost = normalised_distance(draft, held.edited_text or "")
    c.execute(update(feedback).where(scope(feedback, owner), feedback.c.id == id).values(cost=cost))


def edits_of(c: Connection, owner: Owner, ids: Sequence[str]) -> list[Edit]:
    """Those of ``ids`` that are standing edits, oldest first."""
    query = _standing(_with_turn(), owner, TEXTS).where(feedback.c.id.in_(sorted(ids)))
    return [_edit(row) for row in c.execute(query.order_by(feedback.c.created_at)).mappings()]


def replaced_by(c: Connection, owner: Owner, id: str) -> list[str]:
    """The ids of what this feedback replaced: the same type's of the same answer. Raises ``NotFound``."""
    held = get(c, owner, id)
    alike = _alike(held.completion_id, held.choice, held.type, held.slot)
    query = select(feedback.c.id).where(scope(feedback, owner), alike, feedback.c.status == "replaced")
    return list(c.execute(query).scalars())


def count_since(c: Connection, owner: Owner, created_at: float) -> int:
    """How many edits, as ``edits`` has them, are newer than ``created_at``."""
    edits = _standing(select(func.count()).select_from(feedback), owner, TEXTS)
    return int(c.execute(edits.where(feedback.c.created_at > created_at)).scalar_one())


def _alike(completion_id: str, choice: int, type: str, slot: str | None) -> ColumnElement[bool]:
    """Feedback of one type about one answer, of which the newest stands. A ranking is found by what it ranks."""
    of_type = and_(feedback.c.type == type, feedback.c.slot == slot)
    if type == "ranking":
        return of_type
    return and_(feedback.c.completion_id == completion_id, feedback.c.choice == choice, of_type)


def _newest(c: Connection, owner: Owner, types: Sequence[Type], limit: int) -> Sequence[Mapping[Any, Any]]:
    query = _standing(_with_turn(), owner, types).order_by(feedback.c.created_at.desc()).limit(limit)
    return c.execute(query).mappings().all()[::-1]


def _next(c: Connection, owner: Owner, types: Sequence[Type], after: float, limit: int) -> Sequence[Mapping[Any, Any]]:
    query = _standing(_with_turn(), owner, types).where(feedback.c.created_at > after)
    return c.execute(query.order_by(feedback.c.created_at).limit(limit)).mappings().all()


def _with_turn() -> Select[Any]:
    names = ("id", "choice", "edited_text", "cost", "thumb", "content", "source", "weight", "created_at")
    columns = [feedback.c[name] for name in names]
    return select(turns_table, *(column.label(f"feedback_{column.name}") for column in columns))


def _standing(query: Select[Any], owner: Owner, types: Sequence[Type]) -> Select[Any]:
    return _of_turn(query, owner).where(
        feedback.c.type.in_(types),
        feedback.c.status != "replaced",
        feedback.c.weight > 0,
        turns_table.c.partial.is_(False),
    )


def _of_turn(query: Select[Any], owner: Owner) -> Select[Any]:
    of_turn = turns_table.c.completion_id == feedback.c.completion_id
    return query.join(turns_table, of_turn).where(scope(feedback, owner), scope(turns_table, owner))


def _edit(row: Mapping[Any, Any]) -> Edit:
    turn = turns.of_row(row)
    names = ("edited_text", "cost", "created_at", "source", "weight", "content")
    edited_text, cost, created_at, source, weight, content = (row[f"feedback_{name}"] for name in names)
    draft, comment = turn.answers[row["feedback_choice"]], (content or {}).get("comment")
    edited = draft if edited_text is None else edited_text
    if cost is None:  # its draft has been made since it was stored
        cost = normalised_distance(draft, edited)
    return Edit(row["feedback_id"], turn, draft, edited, cost, created_at, comment, source, weight)


def _thumb(row: Mapping[Any, Any]) -> Thumb:
    turn = turns.of_row(row)
    answer, up = turn.answers[row["feedback_choice"]], row["feedback_thumb"] == "up"
    return Thumb(row["feedback_id"], turn, answer, up, row["feedback_created_at"])


def _feedback(row: Mapping[Any, Any]) -> Feedback:
    values: dict[str, Any] = {name: row[name] for name in Feedback.__dataclass_fields__ if row.get(name) is not None}
    lists = {name: tuple(row.get(name) or ()) for name in ("learned", "candidates", "tags")}
    nothing = dict.fromkeys(("edited_text", "cost", "thumb", "reason", "idempotency_key", "slot"))
    return Feedback(**{**nothing, **values, **lists})
