"""Rows of ``preferences``: what the user prefers. `context_rows.py` has the contexts that it was seen to hold in.

Every mutation raises the user's revision, because caches and indexes are derived from these rows.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, and_, func, insert, select, update
from sqlalchemy import delete as delete_from

from preference.text import as_data, canonical
from store import users
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.rows import checked, findable, key, later, scope
from store.tables import contexts as contexts_table
from store.tables import preferences

Source = Literal["learned", "stated"]
TAKEN_OVER = "prior-"
"""How the contexts of what was taken over from others are named (`prior.py`): they are no edits."""

MAX_TEXT = 400  # characters; what a prompt shows of it (`text.as_data`)


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
    return update_row(c, owner, id, source="stated")


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
    return update_row(c, owner, id, **values)


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
    return update_row(c, owner, id, status="superseded", superseded_by=by)


def delete(c: Connection, owner: Owner, id: str) -> None:
    """Erase a preference and its contexts; what it superseded stays superseded. Raises ``NotFound``."""
    users.touch(c, owner)
    get(c, owner, id)
    named = and_(scope(preferences, owner), preferences.c.superseded_by == id)
    c.execute(update(preferences).where(named).values(superseded_by=None))
    c.execute(delete_from(preferences).where(scope(preferences, owner), preferences.c.id == id))


def update_row(c: Connection, owner: Owner, id: str, **values: Any) -> Preference:
    """Change columns of a preference. Raises ``NotFound``."""
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


def _preference(row: Mapping[Any, Any]) -> Preference:
    return Preference(**{name: row[name] for name in Preference.__dataclass_fields__})
