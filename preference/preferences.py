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
from preference.tables import feedback, preferences
from preference.text import as_data, canonical

Source = Literal["learned", "stated"]
TAKEN_OVER = "prior-"
"""How the situations of what was taken over from others are named (`prior.py`): they are no edits."""

MAX_TEXT = 400  # characters; what a prompt shows of it (`text.as_data`)
MAX_SITUATIONS = 256  # of a user, in which preferences were seen to hold

_situation = func.coalesce(contexts_table.c.feedback_id, contexts_table.c.id)


@dataclass(frozen=True)
class Preference:
    """A short text learned from feedback or stated by the user. Learning leaves a ``locked`` one alone.

    ``favour``, in [-1, 1], is what signals say of it: it weighs what edits said.
    """

    id: str
    text: str
    source: str
    status: str
    superseded_by: str | None
    locked: bool
    created_at: float
    updated_at: float
    favour: float = 0.0


@dataclass(frozen=True, eq=False)
class Context:
    """A situation that speaks for a preference, or against it. ``vector`` is unit length, float32, [dimension].

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


def alike(c: Connection, owner: Owner, text: str) -> Preference | None:
    """The active preference that says the same: case, spacing and end punctuation aside."""
    same = canonical(text)
    return next((one for one in active(c, owner) if canonical(one.text) == same), None)


def widen(c: Connection, owner: Owner, id: str) -> Preference:
    """Make a preference one that the user stated for every request. Raises ``NotFound``."""
    users.touch(c, owner)
    get(c, owner, id)
    held = and_(scope(contexts_table, owner), contexts_table.c.preference_id == id)
    c.execute(delete_from(contexts_table).where(held))
    return _update(c, owner, id, source="stated")


def narrow(
    c: Connection, owner: Owner, id: str, *, text: str, embedder: str, vector: NDArray[np.float32]
) -> Preference:
    """Make a preference one that the user stated for requests like ``text`` alone. Raises as ``add_context``."""
    if get(c, owner, id).status != "active":
        raise Conflict("a superseded preference cannot be changed", param="id")
    widen(c, owner, id)
    add_context(c, owner, id, feedback_id=None, text=text, embedder=embedder, vector=vector)
    return get(c, owner, id)


def newest_contexts(c: Connection, owner: Owner) -> list[Context]:
    """Of each preference the newest situation that speaks for it; none of one that holds in every request."""
    table = contexts_table
    speaks = and_(scope(table, owner), table.c.weight > 0)
    newest = select(table.c.preference_id, func.max(table.c.created_at).label("at")).where(speaks)
    last = newest.group_by(table.c.preference_id).subquery()
    is_last = and_(table.c.preference_id == last.c.preference_id, table.c.created_at == last.c.at)
    query = select(table).join(last, is_last).where(scope(table, owner))
    return [_context(row) for row in c.execute(query.order_by(table.c.created_at)).mappings()]


def add_context(
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
    """Key a preference by one more situation, which speaks for it, or against it. Its text stays as old as it is.

    Raises ``NotFound`` (``id``) and ``Invalid`` (``context``; ``vector`` that is not one of unit length).
    """
    users.touch(c, owner)
    checked(text, "context", 10_000_000)
    get(c, owner, preference_id)
    now = later(c, owner, contexts_table.c.created_at)
    context = Context(preference_id, f"ctx-{uuid.uuid4().hex}", feedback_id, text, embedder, _unit(vector), now, weight)
    stored = {**vars(context), "vector": context.vector.astype("<f4").tobytes()}
    del stored["heard"]
    c.execute(insert(contexts_table).values(**key(owner), **stored))
    return context


def bound_situations(c: Connection, owner: Owner, limit: int = MAX_SITUATIONS) -> None:
    """Drop one situation if there are more than ``limit``. It goes whole: a part of it would speak against the rest.

    Call this when all that holds in a new situation is stored.

    The oldest of the commonest kind goes; kinds are sets of preferences that held together, so a kind that was seen
    once outlives the hundredth of another. A learned preference that holds in no other situation ends. What the user
    stated or locked stays.
    """
    mine = and_(scope(contexts_table, owner), contexts_table.c.feedback_id.is_not(None))
    if c.execute(select(func.count(_situation.distinct())).where(mine)).scalar_one() <= limit:
        return
    columns = (_situation, contexts_table.c.preference_id, contexts_table.c.weight)
    held: dict[str, set[str]] = {}
    for id, preference_id, weight in c.execute(select(*columns).where(mine).order_by(contexts_table.c.created_at)):
        holds = held.setdefault(id, set())
        if weight > 0:
            holds.add(preference_id)
    ((commonest, _),) = Counter(map(frozenset, held.values())).most_common(1)
    oldest = next(id for id, kind in held.items() if kind == commonest)
    c.execute(delete_from(contexts_table).where(mine, _situation == oldest))
    elsewhere = {id for situation, ids in held.items() if situation != oldest for id in ids}
    for id in sorted(held[oldest] - elsewhere):
        preference = get(c, owner, id)
        if (preference.source, preference.status, preference.locked) == ("learned", "active", False):
            _update(c, owner, id, status="superseded")


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
        spoken_for = any(context.weight > 0 for context in contexts_of(c, owner, id))
        if held.source == "learned" and untouched and not held.locked and not spoken_for:
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
        other = alike(c, owner, text)
        if other is not None and other.id != id:
            raise Conflict(f"the preference {other.id} says this already", param="text")
    if locked is not None:
        values["locked"] = locked
    return _update(c, owner, id, **values)


def favour(c: Connection, owner: Owner, id: str, favour: float) -> None:
    """Say what signals say of a preference, in [-1, 1]; its text stays as old as it is. Raises ``NotFound``."""
    if abs(get(c, owner, id).favour - favour) > 1e-6:
        users.touch(c, owner)
        mine = and_(scope(preferences, owner), preferences.c.id == id)
        c.execute(update(preferences).where(mine).values(favour=favour))


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


def _context(row: Mapping[Any, Any], heard: bool = False) -> Context:
    values = {name: row[name] for name in Context.__dataclass_fields__ if name != "heard"}
    vector = np.frombuffer(row["vector"], dtype="<f4").astype(np.float32)
    return Context(**{**values, "vector": vector, "heard": heard})
