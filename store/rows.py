"""What every file of row functions needs: the scope of an owner, text that both stores can hold, ordered times."""

import hashlib
import re
import time
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from store.errors import Invalid
from store.owner import Owner

LONE = re.compile("[\ud800-\udfff]")
"""Half a character: a surrogate, of which a pair is one in UTF-16 and in JSON's escapes."""
_TICK = 1e-6  # seconds; a float of today's Unix time resolves a quarter of it


def checked(text: str, param: str, limit: int) -> str:
    """``text`` itself, or ``Invalid`` naming ``param``: empty, over ``limit`` characters, or not storable."""
    if not text.strip():
        raise Invalid(f"{param} must not be empty", param=param)
    if len(text) > limit:
        raise Invalid(f"{param} has {len(text)} characters; at most {limit} are allowed", param=param)
    return storable(text, param)


def storable(text: str, param: str) -> str:
    """``text`` itself, or ``Invalid``: PostgreSQL holds no NUL, UTF-8 no lone surrogate."""
    if not findable(text):
        raise Invalid(f"{param} must not contain NUL characters or lone surrogates", param=param)
    return text


def findable(*ids: str) -> bool:
    """Whether ids from outside can be looked up at all; one that cannot be stored exists nowhere."""
    return not any("\x00" in i or (not i.isascii() and LONE.search(i)) for i in ids)


def sha256(text: str) -> str:
    """What a secret or a name is kept as, in hex; any text has one."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def insert_into(c: Connection, table: Table) -> Any:
    """An insert in the store's own dialect, which can say what becomes of a row that is there."""
    return (sqlite if c.dialect.name == "sqlite" else postgresql).insert(table)


def key(owner: Owner) -> dict[str, Any]:
    """The key columns of ``owner`` for an insert. Raises ``Invalid`` for an identifier that cannot be stored."""
    checked(owner.tenant, "tenant", 64)
    checked(owner.user, "user", 256)
    return {"tenant_id": owner.tenant, "user_id": owner.user}


def scope(table: Table, owner: Owner) -> ColumnElement[bool]:
    """The condition that a row of ``table`` is the owner's."""
    own = key(owner)
    return and_(table.c.tenant_id == own["tenant_id"], table.c.user_id == own["user_id"])


def between(query: Select[Any], column: Column[Any], since: float | None, until: float | None) -> Select[Any]:
    """``query`` for what was made from ``since`` on and before ``until``."""
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)


def later(c: Connection, owner: Owner, column: Column[Any]) -> float:
    """Now, but strictly later than the owner's newest ``column``, even when the clock stands still or steps back.

    Orders and watermarks rely on it; the caller holds the owner's lock (``users.lock`` or ``users.touch``).
    """
    newest = c.execute(select(func.max(column)).where(scope(column.table, owner))).scalar()
    return max(time.time(), (newest or 0.0) + _TICK)
