"""Rows of ``feedback``: what a user really sent instead of a draft, and what was learned from it; and thumbs.

A thumb says of an answer that it is right or wrong, and not what would be right. So the two are kept apart: neither
replaces the other, and who reads edits gets no thumbs.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from preference import jobs, preferences, turns, users
from preference.distance import normalised_distance
from preference.errors import IdempotencyConflict, Invalid, NotFound
from preference.owner import Owner
from preference.rows import checked, findable, key, later, scope, storable
from preference.tables import feedback
from preference.tables import turns as turns_table
from preference.turns import Turn

Type = Literal["edit", "thumbs"]
UpOrDown = Literal["up", "down"]
Status = Literal["pending", "learned", "nothing_learned", "failed", "replaced"]

MAX_EDIT = 200_000  # characters; the server's own limit is lower
_FIRST: Mapping[str, Mapping[str, Any]] = {
    "edit": {"status": "pending", "reason": None, "learned": []},
    "thumbs": {
        "status": "nothing_learned",
        "reason": "a thumb says not what would be better: it is kept for adapters that are trained by KTO",
        "learned": [],
    },
}
"""What comes of feedback at first; of a thumb, for good."""


@dataclass(frozen=True)
class Feedback:
    """One piece of feedback: an edit has a text and its ``cost``, thumbs have a ``thumb``.

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


@dataclass(frozen=True)
class Edit:
    """An edit beside the turn it belongs to: what learning and training read."""

    feedback_id: str
    turn: Turn
    draft: str
    edited_text: str
    cost: float
    created_at: float


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
    thumb: UpOrDown | None = None,
    choice: int = 0,
    idempotency_key: str | None = None,
    body_sha256: str,
) -> Feedback:
    """Store an edit and queue its learning, in the caller's one transaction; or, with ``thumb`` instead, a thumb.

    The same ``idempotency_key`` with the same body gives the first answer again. A newer edit of the same completion
    and choice replaces the earlier one, a newer thumb the earlier thumb. Raises ``Invalid`` (``edited_text``,
    ``choice``, ``Idempotency-Key``), ``NotFound`` (``completion_id``), ``IdempotencyConflict`` (``Idempotency-Key``,
    used with another body).
    """
    if (edited_text is None) == (thumb is None):
        raise ValueError("feedback is either an edit or a thumb")
    if edited_text is not None:
        checked(edited_text, "edited_text", MAX_EDIT)
    if not users.lock(c, owner):
        raise NotFound(f"there is no completion {completion_id!r} of this user", param="completion_id")
    if idempotency_key is not None:
        checked(idempotency_key, "Idempotency-Key", 255)
        query = select(feedback).where(scope(feedback, owner), feedback.c.idempotency_key == idempotency_key)
        earlier = c.execute(query).mappings().first()
        if earlier is not None and earlier["body_sha256"] != body_sha256:
            raise IdempotencyConflict("this Idempotency-Key was used with another body", param="Idempotency-Key")
        if earlier is not None:  # the same answer as then, whatever became of it since
            return _feedback({**earlier, **_FIRST[earlier["type"]]})
    answers = turns.get(c, owner, completion_id).answers
    if not 0 <= choice < len(answers):
        raise Invalid(f"the completion has {len(answers)} choices, counted from 0", param="choice")
    type: Type = "edit" if thumb is None else "thumbs"
    alike = _alike(completion_id, choice, type)
    c.execute(update(feedback).where(scope(feedback, owner), alike).values(status="replaced"))
    values = {
        "id": f"fb-{uuid.uuid4().hex}",
        "completion_id": completion_id,
        "choice": choice,
        "type": type,
        "edited_text": edited_text,
        "cost": None if edited_text is None else normalised_distance(answers[choice], edited_text),
        "thumb": thumb,
        **_FIRST[type],
        "created_at": later(c, owner, feedback.c.created_at),
        "idempotency_key": idempotency_key,
        "body_sha256": body_sha256,
    }
    c.execute(insert(feedback).values(**key(owner), **values))
    if type == "edit":
        jobs.enqueue(c, owner, "learn", str(values["id"]))
    return _feedback(values)


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


def resolve(
    c: Connection, owner: Owner, id: str, status: Status, reason: str | None = None, learned: Sequence[str] = ()
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
    }
    c.execute(update(feedback).where(scope(feedback, owner), feedback.c.id == id).values(values))
    return get(c, owner, id)


def erase(c: Connection, owner: Owner, id: str) -> list[str]:
    """Delete feedback, what it replaced, and what that alone has taught; the ids of all.

    Learning from it that is under way stores nothing any more. The turn that it is about stays. Raises ``NotFound``.
    """
    if not users.lock(c, owner):
        raise NotFound(f"there is no feedback {id!r} of this user", param="id")
    held = get(c, owner, id)
    alike = _alike(held.completion_id, held.choice, held.type)
    earlier = and_(alike, feedback.c.status == "replaced", feedback.c.created_at < held.created_at)
    query = select(feedback.c.id).where(scope(feedback, owner), or_(feedback.c.id == id, earlier))
    ids = list(c.execute(query.order_by(feedback.c.created_at)).scalars())
    jobs.forget(c, owner, "learn", ids)
    turns.redact(c, owner, [taught.id for taught in preferences.withdraw(c, owner, ids)])
    c.execute(delete(feedback).where(scope(feedback, owner), feedback.c.id.in_(ids)))
    return ids


def edits(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Edit]:
    """The newest ``limit`` edits, oldest first; without the replaced ones and those of answers cut short."""
    return [_edit(row) for row in _newest(c, owner, "edit", limit)]


def edit_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Edit]:
    """The next of these edits created after ``after``, oldest first: for the export."""
    return [_edit(row) for row in _next(c, owner, "edit", after, limit)]


def thumbs(c: Connection, owner: Owner, *, limit: int = 2000) -> list[Thumb]:
    """The newest ``limit`` thumbs, oldest first; without the replaced ones and those of answers cut short."""
    return [_thumb(row) for row in _newest(c, owner, "thumbs", limit)]


def thumb_page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Thumb]:
    """The next of these thumbs created after ``after``, oldest first: for the export."""
    return [_thumb(row) for row in _next(c, owner, "thumbs", after, limit)]


def pending_edit(c: Connection, owner: Owner, id: str) -> Edit | None:
    """The edit with its turn while it still waits to be learned from, else None (resolved, replaced, or erased)."""
    query = _of_turn(_with_turn(), owner).where(feedback.c.id == id, feedback.c.status == "pending")
    row = c.execute(query).mappings().first()
    return None if row is None else _edit(row)


def replaced_by(c: Connection, owner: Owner, id: str) -> list[str]:
    """The ids of what this feedback replaced: the same type's of the same answer. Raises ``NotFound``."""
    held = get(c, owner, id)
    alike = _alike(held.completion_id, held.choice, held.type)
    query = select(feedback.c.id).where(scope(feedback, owner), alike, feedback.c.status == "replaced")
    return list(c.execute(query).scalars())


def count_since(c: Connection, owner: Owner, created_at: float) -> int:
    """How many edits, as ``edits`` has them, are newer than ``created_at``."""
    edits = _standing(select(func.count()).select_from(feedback), owner, "edit")
    return int(c.execute(edits.where(feedback.c.created_at > created_at)).scalar_one())


def _alike(completion_id: str, choice: int, type: str) -> ColumnElement[bool]:
    """Feedback of one type about one answer, of which the newest stands."""
    return and_(feedback.c.completion_id == completion_id, feedback.c.choice == choice, feedback.c.type == type)


def _newest(c: Connection, owner: Owner, type: Type, limit: int) -> Sequence[Mapping[Any, Any]]:
    query = _standing(_with_turn(), owner, type).order_by(feedback.c.created_at.desc()).limit(limit)
    return c.execute(query).mappings().all()[::-1]


def _next(c: Connection, owner: Owner, type: Type, after: float, limit: int) -> Sequence[Mapping[Any, Any]]:
    query = _standing(_with_turn(), owner, type).where(feedback.c.created_at > after)
    return c.execute(query.order_by(feedback.c.created_at).limit(limit)).mappings().all()


def _with_turn() -> Select[Any]:
    names = ("id", "choice", "edited_text", "cost", "thumb", "created_at")
    columns = [feedback.c[name] for name in names]
    return select(turns_table, *(column.label(f"feedback_{column.name}") for column in columns))


def _standing(query: Select[Any], owner: Owner, type: Type) -> Select[Any]:
    return _of_turn(query, owner).where(
        feedback.c.type == type, feedback.c.status != "replaced", turns_table.c.partial.is_(False)
    )


def _of_turn(query: Select[Any], owner: Owner) -> Select[Any]:
    of_turn = turns_table.c.completion_id == feedback.c.completion_id
    return query.join(turns_table, of_turn).where(scope(feedback, owner), scope(turns_table, owner))


def _edit(row: Mapping[Any, Any]) -> Edit:
    turn = turns.of_row(row)
    edited_text, cost, created_at = (row[f"feedback_{name}"] for name in ("edited_text", "cost", "created_at"))
    return Edit(row["feedback_id"], turn, turn.answers[row["feedback_choice"]], edited_text, cost, created_at)


def _thumb(row: Mapping[Any, Any]) -> Thumb:
    turn = turns.of_row(row)
    answer, up = turn.answers[row["feedback_choice"]], row["feedback_thumb"] == "up"
    return Thumb(row["feedback_id"], turn, answer, up, row["feedback_created_at"])


def _feedback(row: Mapping[Any, Any]) -> Feedback:
    values = {name: row[name] for name in Feedback.__dataclass_fields__}
    return Feedback(**{**values, "learned": tuple(row["learned"])})
