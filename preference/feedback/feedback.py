"""Rows of ``feedback``: what a user really sent instead of a draft, what was learned from it, and what else they say.

A thumb says of an answer that it is right or wrong, and not what would be right. So the kinds are kept apart: none
replaces another, and who reads edits gets no thumbs. What each kind is made of stands in `given.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update

from preference import context_rows
from preference.distance import normalised_distance
from preference.feedback import signals
from preference.feedback.given import history_key
from store import idempotency, jobs, turns, users
from store.errors import NotFound
from store.feedback_kinds import PASSING
from store.owner import Owner
from store.rows import between, findable, scope, storable
from store.tables import feedback

Status = Literal["pending", "learned", "nothing_learned", "failed", "replaced"]
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


def draft(c: Connection, owner: Owner, completion_id: str, choice: int) -> str | None:
    """The answer that feedback on it would be about; None where ``give`` would refuse it."""
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
    return of_row(row)


def page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[Feedback]:
    """The next feedback created after ``after``, oldest first: for the export. No two times of a user are equal."""
    query = select(feedback).where(scope(feedback, owner), feedback.c.created_at > after)
    return [of_row(row) for row in c.execute(query.order_by(feedback.c.created_at).limit(limit)).mappings()]


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
    return [of_row(row) for row in rows.mappings()]


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
    alike = same_slot(held.completion_id, held.choice, held.type, held.slot)
    earlier = and_(alike, feedback.c.status == "replaced", feedback.c.created_at < held.created_at)
    query = select(feedback.c.id).where(scope(feedback, owner), or_(feedback.c.id == id, earlier))
    ids = list(c.execute(query.order_by(feedback.c.created_at)).scalars())
    for gone in [get(c, owner, one) for one in ids]:
        spend_key(c, owner, gone)
        _unfind(c, owner, gone)
    jobs.forget(c, owner, "learn", ids)
    turns.redact(c, owner, [taught.id for taught in context_rows.withdraw(c, owner, ids)])
    c.execute(delete(feedback).where(scope(feedback, owner), feedback.c.id.in_(ids)))
    if held.type in PASSING:
        signals.weigh(c, owner, held.completion_id)
    if held.type == "demonstration":
        turns.delete_one(c, owner, held.completion_id)
    return ids


def spend_key(c: Connection, owner: Owner, gone: Feedback) -> None:
    """Keep of feedback that goes what its idempotency key was answered."""
    if gone.idempotency_key is not None:
        told = {name: getattr(gone, name) for name in _TOLD}
        idempotency.spend(c, owner, gone.idempotency_key, gone.body_sha256, told)


def _unfind(c: Connection, owner: Owner, gone: Feedback) -> None:
    """Let no history say again what is deleted."""
    what = gone.edited_text if gone.type == "edit" else (gone.content or {}).get("comment")
    if what is not None:
        said = history_key(gone.type, gone.completion_id, gone.choice, gone.slot, what)
        if idempotency.answer_of(c, owner, said, said) is None:
            idempotency.spend(c, owner, said, said, {name: getattr(gone, name) for name in _TOLD})


def drafted(c: Connection, owner: Owner, id: str, draft: str) -> None:
    """Say what a demonstration cost, now that there is a draft to compare it with."""
    held = get(c, owner, id)
    cost = normalised_distance(draft, held.edited_text or "")
    c.execute(update(feedback).where(scope(feedback, owner), feedback.c.id == id).values(cost=cost))


def replaced_by(c: Connection, owner: Owner, id: str) -> list[str]:
    """The ids of what this feedback replaced: the same type's of the same answer. Raises ``NotFound``."""
    held = get(c, owner, id)
    alike = same_slot(held.completion_id, held.choice, held.type, held.slot)
    query = select(feedback.c.id).where(scope(feedback, owner), alike, feedback.c.status == "replaced")
    return list(c.execute(query).scalars())


def same_slot(completion_id: str, choice: int, type: str, slot: str | None) -> ColumnElement[bool]:
    """Feedback of one type about one answer, of which the newest stands. A ranking is found by what it ranks."""
    of_type = and_(feedback.c.type == type, feedback.c.slot == slot)
    if type == "ranking":
        return of_type
    return and_(feedback.c.completion_id == completion_id, feedback.c.choice == choice, of_type)


def of_row(row: Mapping[Any, Any]) -> Feedback:
    """The feedback of a row."""
    values: dict[str, Any] = {name: row[name] for name in Feedback.__dataclass_fields__ if row.get(name) is not None}
    lists = {name: tuple(row.get(name) or ()) for name in ("learned", "candidates", "tags")}
    nothing = dict.fromkeys(("edited_text", "cost", "thumb", "reason", "idempotency_key", "slot"))
    return Feedback(**{**nothing, **values, **lists})
