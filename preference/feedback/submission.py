"""Taking feedback in: checked, placed at its turn, stored with the job that learns from it."""

import time
import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from preference.distance import normalised_distance
from preference.feedback import demonstrations, signals
from preference.feedback.feedback import Feedback, of_row, same_slot, spend_key
from preference.feedback.given import MAX_STANDING, Given, slot_of
from store import bytes_held, idempotency, jobs, turns, users
from store.errors import Conflict, IdempotencyConflict, Invalid, NotFound
from store.feedback_kinds import KINDS
from store.owner import Owner
from store.rows import checked, key, later, scope
from store.tables import feedback
from store.turns import Turn

WEIGH_SECONDS = 60.0
"""After an outcome; those that come meanwhile are weighed with it."""


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
    alike = same_slot(given.completion_id, given.choice, given.type, given.slot)
    kind = KINDS[given.type]
    if kind.passing and (held := _held_already(c, owner, given, alike)) is not None:
        return held
    if kind.several and _standing_others(c, owner, given) >= MAX_STANDING:
        param, what = kind.several
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
    c.execute(insert(feedback).values(**key(owner), **values, bytes=bytes_held.size(*texts)))
    if kind.unlearned is None:
        jobs.enqueue(c, owner, "learn", str(values["id"]))
    if given.type == "signal":
        signals.weigh(c, owner, given.completion_id)
    if given.type == "outcome" and given.slot not in jobs.under_way(c, owner, "weigh"):
        jobs.enqueue(c, owner, "weigh", given.slot or "", time.time() + WEIGH_SECONDS)
    return of_row(values)


def _first(type: str) -> dict[str, Any]:
    """What comes of feedback at first; of kinds that no job learns from, for good."""
    why = next((kind.unlearned for name, kind in KINDS.items() if name == type), None)
    return {"status": "pending" if why is None else "nothing_learned", "reason": why, "learned": []}


def _answered(c: Connection, owner: Owner, idempotency_key: str, body_sha256: str) -> Feedback | None:
    """The first answer to this key, whatever became of it since. Raises ``IdempotencyConflict``."""
    checked(idempotency_key, "Idempotency-Key", 255)
    query = select(feedback).where(scope(feedback, owner), feedback.c.idempotency_key == idempotency_key)
    earlier = c.execute(query).mappings().first()
    if earlier is not None and earlier["body_sha256"] != body_sha256:
        raise IdempotencyConflict("this Idempotency-Key was used with another body", param="Idempotency-Key")
    if earlier is not None:
        return of_row({**earlier, **_first(earlier["type"]), "candidates": None})
    deleted = idempotency.answer_of(c, owner, idempotency_key, body_sha256)
    if deleted is None:
        return None
    return of_row({**deleted, **_first(deleted["type"]), "edited_text": None, "body_sha256": body_sha256})


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
        return of_row(same)
    for row in rows:
        spend_key(c, owner, of_row(row))
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
