"""Rows of ``preferences`` and ``contexts``: what the user prefers, and the situations it was seen to hold in.

Every mutation raises the user's revision, because caches and indexes are derived from these rows.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, func, insert, or_, select, update
from sqlalchemy import delete as delete_from

from preference import users
from preference.errors import Conflict, Invalid, NotFound
from preference.owner import Owner
from preference.rows import checked, findable, key, later, scope
from preference.tables import contexts as contexts_table
from preference.tables import preferences
from preference.text import as_data

Source = Literal["learned", "stated"]

MAX_TEXT = 400  # characters; what a prompt shows of it (`text.as_data`)
MAX_SITUATIONS = 256  # of a user, in which preferences were seen to hold
CONTEXT_CHARACTERS = 4000
"""How much of a request is kept as a context, and looked for; the embedder reads less."""

_situation = func.coalesce(contexts_table.c.feedback_id, contexts_table.c.id)


@dataclass(frozen=True)
class Preference:
    """A short text learned from feedback or stated by the user. Learning leaves a ``locked`` one alone."""

    id: str
    text: str
    source: str
    status: str
    superseded_by: str | None
    locked: bool
    created_at: float
    updated_at: float


@dataclass(frozen=True, eq=False)
class Context:
    """A situation in which a preference was seen to hold. ``vector`` is unit length, float32, [dimension]."""

    preference_id: str
    id: str
    feedback_id: str | None
    text: str
    embedder: str
    vector: NDArray[np.float32]
    created_at: float


def active(c: Connection, owner: Owner) -> list[Preference]:
    """The preferences that hold now, oldest first."""
    query = select(preferences).where(scope(preferences, owner), preferences.c.status == "active")
    return [_preference(row) for row in c.execute(query.order_by(preferences.c.created_at)).mappings()]


def all_of(c: Connection, owner: Owner) -> list[Preference]:
    """Every preference, superseded ones too, oldest first."""
    return page(c, owner, limit=None)


def page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int | None = 500) -> list[Preference]:
    """The next preferences created after ``after``, oldest first. No two times of a user are equal."""
    query = select(preferences).where(scope(preferences, owner), preferences.c.created_at > after)
    return [_preference(row) for row in c.execute(query.order_by(preferences.c.created_at).limit(limit)).mappings()]


def get(c: Connection, owner: Owner, id: str) -> Preference:
    """The preference. Raises ``NotFound`` for an id unknown to this owner."""
    query = select(preferences).where(scope(preferences, owner), preferences.c.id == id)
    row = c.execute(query).mappings().first() if findable(id) else None
    if row is None:
        raise NotFound(f"there is no preference {id!r} of this user", param="id")
    return _preference(row)


def contexts(c: Connection, owner: Owner, embedder: str) -> list[Context]:
    """The contexts of active preferences in the vector space of ``embedder``, oldest first."""
    query = (
        select(contexts_table)
        .join(preferences, preferences.c.id == contexts_table.c.preference_id)
        .where(scope(contexts_table, owner), scope(preferences, owner), preferences.c.status == "active")
        .where(contexts_table.c.embedder == embedder)
        .order_by(contexts_table.c.created_at)
    )
    return [_context(row) for row in c.execute(query).mappings()]


def contexts_of(c: Connection, owner: Owner, preference_id: str) -> list[Context]:
    """The contexts of one preference, oldest first. Raises ``NotFound`` for an unknown preference."""
    get(c, owner, preference_id)
    query = select(contexts_table).where(scope(contexts_table, owner), contexts_table.c.preference_id == preference_id)
    return [_context(row) for row in c.execute(query.order_by(contexts_table.c.created_at)).mappings()]


def create(c: Connection, owner: Owner, text: str, source: Source, *, limit: int = 1000) -> Preference:
    """A new active preference. Raises ``Invalid`` (``text``), ``Conflict`` at ``limit`` active ones, ``NotFound``."""
    users.touch(c, owner)
    held = select(func.count()).select_from(preferences)
    held = held.where(scope(preferences, owner), preferences.c.status == "active")
    if c.execute(held).scalar_one() >= limit:
        raise Conflict(f"this user already has {limit} preferences; delete some first", param="preferences")
    now = later(c, owner, preferences.c.updated_at)
    row = Preference(f"pref-{uuid.uuid4().hex}", _line(text), source, "active", None, False, now, now)
    c.execute(insert(preferences).values(**key(owner), **vars(row)))
    return row


def add_context(
    c: Connection,
    owner: Owner,
    preference_id: str,
    *,
    feedback_id: str | None,
    text: str,
    embedder: str,
    vector: NDArray[np.float32],
) -> Context:
    """Key a preference by one more situation. Its text stays as old as it is.

    Raises ``NotFound`` (``id``) and ``Invalid`` (``context``; ``vector`` that is not one of unit length).
    """
    users.touch(c, owner)
    checked(text, "context", 10_000_000)
    get(c, owner, preference_id)
    now = later(c, owner, contexts_table.c.created_at)
    context = Context(preference_id, f"ctx-{uuid.uuid4().hex}", feedback_id, text, embedder, _unit(vector), now)
    stored = {**vars(context), "vector": context.vector.astype("<f4").tobytes()}
    c.execute(insert(contexts_table).values(**key(owner), **stored))
    return context


def bound_situations(c: Connection, owner: Owner, limit: int = MAX_SITUATIONS) -> None:
    """Drop a situation where there are more than ``limit``: whole, as a part of one would speak against the rest.

    Call it when all that holds in a new one is stored.

    Kinds are sets of preferences that held together: what was seen once, long ago, outlives the hundredth of a kind.
    What was learned and was seen to hold in no other situation holds no more. What the user said stays where it is.
    """
    mine = and_(scope(contexts_table, owner), contexts_table.c.feedback_id.is_not(None))
    if c.execute(select(func.count(_situation.distinct())).where(mine)).scalar_one() <= limit:
        return
    rows = select(_situation, contexts_table.c.preference_id).where(mine).order_by(contexts_table.c.created_at)
    held: dict[str, set[str]] = {}
    for id, preference_id in c.execute(rows):
        held.setdefault(id, set()).add(preference_id)
    ((commonest, _),) = Counter(map(frozenset, held.values())).most_common(1)
    oldest = next(id for id, kind in held.items() if kind == commonest)
    c.execute(delete_from(contexts_table).where(mine, _situation == oldest))
    elsewhere = {id for situation, ids in held.items() if situation != oldest for id in ids}
    for id in sorted(held[oldest] - elsewhere):
        preference = get(c, owner, id)
        if (preference.source, preference.status, preference.locked) == ("learned", "active", False):
            _update(c, owner, id, status="superseded")


def end_situations(c: Connection, owner: Owner, ids: Collection[str]) -> None:
    """Forget what held in these situations, by the id of the feedback that told of each, or of its context.

    What the user locked or said goes on holding there.
    """
    users.touch(c, owner)
    fixed = or_(preferences.c.locked, preferences.c.source == "stated")
    kept = select(preferences.c.id).where(scope(preferences, owner), fixed)
    ended = and_(_situation.in_(sorted(ids)), contexts_table.c.preference_id.not_in(kept))
    c.execute(delete_from(contexts_table).where(scope(contexts_table, owner), ended))


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
        if held.source == "learned" and untouched and not held.locked and not contexts_of(c, owner, id):
            delete(c, owner, id)
            gone.append(held)
    return gone


def change(c: Connection, owner: Owner, id: str, *, text: str | None = None, locked: bool | None = None) -> Preference:
    """Correct or (un)lock an active preference. Raises ``NotFound``, ``Invalid`` (``text``), ``Conflict``."""
    users.touch(c, owner)
    if get(c, owner, id).status != "active":
        raise Conflict("a superseded preference cannot be changed", param="id")
    values: dict[str, Any] = {}
    if text is not None:
        values["text"] = _line(text)
    if locked is not None:
        values["locked"] = locked
    return _update(c, owner, id, **values)


def supersede(c: Connection, owner: Owner, id: str, by: str | None) -> Preference:
    """End a preference in favour of ``by``, or of none. Raises ``Conflict`` for a locked one, ``NotFound``."""
    users.touch(c, owner)
    if get(c, owner, id).locked:
        raise Conflict("a locked preference cannot be superseded", param="id")
    if by is not None:
        get(c, owner, by)
    return _update(c, owner, id, status="superseded", superseded_by=by)


def delete(c: Connection, owner: Owner, id: str) -> None:
    """Erase a preference and its contexts; what it superseded stays superseded. Raises ``NotFound``."""
    users.touch(c, owner)
    get(c, owner, id)
    named = and_(scope(preferences, owner), preferences.c.superseded_by == id)
    c.execute(update(preferences).where(named).values(superseded_by=None))
    c.execute(delete_from(preferences).where(scope(preferences, owner), preferences.c.id == id))


def _update(c: Connection, owner: Owner, id: str, **values: Any) -> Preference:
    get(c, owner, id)
    mine = and_(scope(preferences, owner), preferences.c.id == id)
    c.execute(update(preferences).where(mine).values(updated_at=later(c, owner, preferences.c.updated_at), **values))
    return get(c, owner, id)


def _line(text: str) -> str:
    checked(text, "text", MAX_TEXT)
    line = as_data(text, limit=MAX_TEXT)
    if not line:
        raise Invalid("text must contain printable characters", param="text")
    return line


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    row = np.array(vector, dtype=np.float32)
    if row.ndim != 1 or not abs(float(np.linalg.norm(row)) - 1.0) < 1e-3:
        raise Invalid("a context's vector must be one row of unit length", param="vector")
    return row


def _preference(row: Mapping[Any, Any]) -> Preference:
    return Preference(**{name: row[name] for name in Preference.__dataclass_fields__})


def _context(row: Mapping[Any, Any]) -> Context:
    values = {name: row[name] for name in Context.__dataclass_fields__}
    return Context(**{**values, "vector": np.frombuffer(row["vector"], dtype="<f4").astype(np.float32)})
