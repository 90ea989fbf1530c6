"""Rows of ``contexts``: the requests in which preferences were seen to hold, or not, with their vectors."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, func, insert, or_, select
from sqlalchemy import delete as delete_from

from preference.preferences import TAKEN_OVER, Preference, delete, get, update_row, widen
from store import users
from store.errors import Conflict, Invalid
from store.owner import Owner
from store.rows import checked, key, later, scope
from store.tables import contexts as contexts_table
from store.tables import feedback, preferences

MAX_CONTEXTS = 256  # of a user, in which preferences were seen to hold

_context_id = func.coalesce(contexts_table.c.feedback_id, contexts_table.c.id)


@dataclass(frozen=True, eq=False)
class Context:
    """A context that speaks for a preference, or against it. ``vector`` is unit length, float32, [dimension].

    ``weight`` is what it says, as `evidence.py` adds it up; below 0 it speaks against.
    """

    preference_id: str
    id: str
    feedback_id: str | None
    text: str
    embedder: str
    vector: NDArray[np.float32]
    created_at: float
    weight: float = 1.0
    heard: bool = False
    """Words said it, or others, and no text of the user's: what they do not speak of may hold all the same."""


def by_embedder(c: Connection, owner: Owner, embedder: str) -> list[Context]:
    """The contexts of active preferences in the vector space of ``embedder``, oldest first."""
    of = contexts_table.c.feedback_id
    said = and_(feedback.c.id == of, scope(feedback, owner))
    query = (
        select(contexts_table, or_(feedback.c.type == "comment", of.startswith(TAKEN_OVER)).label("heard"))
        .join(preferences, preferences.c.id == contexts_table.c.preference_id)
        .outerjoin(feedback, said)
        .where(scope(contexts_table, owner), scope(preferences, owner), preferences.c.status == "active")
        .where(contexts_table.c.embedder == embedder)
        .order_by(contexts_table.c.created_at)
    )
    return [_context(row, bool(row["heard"])) for row in c.execute(query).mappings()]


def evidence_of(c: Connection, owner: Owner, ids: Collection[str] | None = None) -> dict[str, list[float]]:
    """What each edit said for and against preferences, by their ids, oldest first; of all of them without ``ids``."""
    table = contexts_table
    query = select(table.c.preference_id, table.c.weight).where(scope(table, owner), table.c.feedback_id.is_not(None))
    if ids is not None:
        query = query.where(table.c.preference_id.in_(sorted(ids)))
    said: dict[str, list[float]] = {}
    for id, weight in c.execute(query.order_by(table.c.created_at)):
        said.setdefault(id, []).append(weight)
    return said


def of(c: Connection, owner: Owner, preference_id: str) -> list[Context]:
    """The contexts of one preference, oldest first. Raises ``NotFound`` for an unknown preference."""
    get(c, owner, preference_id)
    query = select(contexts_table).where(scope(contexts_table, owner), contexts_table.c.preference_id == preference_id)
    return [_context(row) for row in c.execute(query.order_by(contexts_table.c.created_at)).mappings()]


def narrow(
    c: Connection, owner: Owner, id: str, *, text: str, embedder: str, vector: NDArray[np.float32]
) -> Preference:
    """Make a preference one that the user stated for requests like ``text`` alone. Raises as ``add``."""
    if get(c, owner, id).status != "active":
        raise Conflict("a superseded preference cannot be changed", param="id")
    widen(c, owner, id)
    add(c, owner, id, feedback_id=None, text=text, embedder=embedder, vector=vector)
    return get(c, owner, id)


def newest(c: Connection, owner: Owner) -> list[Context]:
    """Of each preference the newest context that speaks for it; none of one that holds in every request."""
    table = contexts_table
    speaks = and_(scope(table, owner), table.c.weight > 0)
    newest = select(table.c.preference_id, func.max(table.c.created_at).label("at")).where(speaks)
    last = newest.group_by(table.c.preference_id).subquery()
    is_last = and_(table.c.preference_id == last.c.preference_id, table.c.created_at == last.c.at)
    query = select(table).join(last, is_last).where(scope(table, owner))
    return [_context(row) for row in c.execute(query.order_by(table.c.created_at)).mappings()]


def add(
    c: Connection,
    owner: Owner,
    preference_id: str,
    *,
    feedback_id: str | None,
    text: str,
    embedder: str,
    vector: NDArray[np.float32],
    weight: float = 1.0,
) -> Context:
    """Key a preference by one more context, which speaks for it, or against it. Its text stays as old as it is.

    Raises ``NotFound`` (``id``) and ``Invalid`` (``context``; ``vector`` that is not one of unit length).
    """
    users.touch(c, owner)
    checked(text, "context", 10_000_000)
    get(c, owner, preference_id)
    now = later(c, owner, contexts_table.c.created_at)
    context = Context(preference_id, f"ctx-{uuid.uuid4().hex}", feedback_id, text, embedder, unit(vector), now, weight)
    stored = {**vars(context), "vector": context.vector.astype("<f4").tobytes()}
    del stored["heard"]
    c.execute(insert(contexts_table).values(**key(owner), **stored))
    return context


def bound(c: Connection, owner: Owner, limit: int = MAX_CONTEXTS) -> None:
    """Drop one context if there are more than ``limit``. It goes whole: a part of it would speak against the rest.

    Call this when all that holds in a new context is stored.

    The oldest of the commonest kind goes; kinds are sets of preferences that held together, so a kind that was seen
    once outlives the hundredth of another. A learned preference that holds in no other context ends. What the user
    stated or locked stays.
    """
    mine = and_(scope(contexts_table, owner), contexts_table.c.feedback_id.is_not(None))
    if c.execute(select(func.count(_context_id.distinct())).where(mine)).scalar_one() <= limit:
        return
    columns = (_context_id, contexts_table.c.preference_id, contexts_table.c.weight)
    held: dict[str, set[str]] = {}
    for id, preference_id, weight in c.execute(select(*columns).where(mine).order_by(contexts_table.c.created_at)):
        holds = held.setdefault(id, set())
        if weight > 0:
            holds.add(preference_id)
    ((commonest, _),) = Counter(map(frozenset, held.values())).most_common(1)
    oldest = next(id for id, kind in held.items() if kind == commonest)
    c.execute(delete_from(contexts_table).where(mine, _context_id == oldest))
    elsewhere = {id for context, ids in held.items() if context != oldest for id in ids}
    for id in sorted(held[oldest] - elsewhere):
        preference = get(c, owner, id)
        if (preference.source, preference.status, preference.locked) == ("learned", "active", False):
            update_row(c, owner, id, status="superseded")


def withdraw(c: Connection, owner: Owner, feedback_ids: Collection[str]) -> list[Preference]:
    """Take back what feedback taught: its contexts, and the learned preferences that nothing else speaks for; these.

    A preference that the user corrected or locked stays, as long as it holds.
    """
    users.touch(c, owner)
    taught = and_(scope(contexts_table, owner), contexts_table.c.feedback_id.in_(sorted(feedback_ids)))
    ids = set(c.execute(select(contexts_table.c.preference_id).where(taught)).scalars())
    c.execute(delete_from(contexts_table).where(taught))
    gone = []
    for id in sorted(ids):
        held = get(c, owner, id)
        untouched = held.updated_at == held.created_at or held.status == "superseded"
        spoken_for = any(context.weight > 0 for context in of(c, owner, id))
        if held.source == "learned" and untouched and not held.locked and not spoken_for:
            delete(c, owner, id)
            gone.append(held)
    return gone


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """``vector`` at unit length. Raises ``Invalid`` for one without a direction."""
    row = np.array(vector, dtype=np.float32)
    if row.ndim != 1 or not abs(float(np.linalg.norm(row)) - 1.0) < 1e-3:
        raise Invalid("a context's vector must be one row of unit length", param="vector")
    return row


def _context(row: Mapping[Any, Any], heard: bool = False) -> Context:
    values = {name: row[name] for name in Context.__dataclass_fields__ if name != "heard"}
    vector = np.frombuffer(row["vector"], dtype="<f4").astype(np.float32)
    return Context(**{**values, "vector": vector, "heard": heard})
