"""Contexts that another embedder than the one set has embedded: whether there are any, and bringing them over."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from preference import users
from preference.owner import Owner
from preference.ports import Embedder, Vectors
from preference.rows import scope
from preference.tables import contexts

BATCH = 64
"""Texts that are embedded, and rows that are written, at once."""


def stranger(c: Connection, embedder: Embedder) -> str | None:
    """The name of another embedder that has embedded contexts, or the same name where the vectors' length differs."""
    for others in (contexts.c.embedder < embedder.name, contexts.c.embedder > embedder.name):  # each by the index
        if name := c.execute(select(contexts.c.embedder).where(others).limit(1)).scalar():
            return str(name)
    ours = select(func.length(contexts.c.vector)).where(contexts.c.embedder == embedder.name)
    size = c.execute(ours.limit(1)).scalar()
    return None if size in (None, 4 * embedder.dimension) else embedder.name


def count(c: Connection, embedder: Embedder) -> int:
    """How many contexts ``bring_over`` would embed anew."""
    return int(c.execute(select(func.count()).select_from(contexts).where(_strange(embedder))).scalar_one())


def some(c: Connection, embedder: Embedder) -> list[tuple[Owner, str, str, str]]:
    """The next of them: owner, ids of preference and context, text."""
    columns = (contexts.c.tenant_id, contexts.c.user_id, contexts.c.preference_id, contexts.c.id, contexts.c.text)
    rows = c.execute(select(*columns).where(_strange(embedder)).limit(BATCH))
    return [(Owner(tenant, user), preference, id, text) for tenant, user, preference, id, text in rows]


def bring_over(
    c: Connection, found: Sequence[tuple[Owner, str, str, str]], embedder: Embedder, vectors: Vectors
) -> None:
    """Store the vectors, [contexts, dimension], of what ``some`` found; what was erased meanwhile stays so."""
    for (owner, preference, id, _), vector in zip(found, vectors, strict=True):
        this = and_(scope(contexts, owner), contexts.c.preference_id == preference, contexts.c.id == id)
        stored = {"embedder": embedder.name, "vector": vector.astype("<f4").tobytes()}
        c.execute(update(contexts).where(this).values(**stored))
    for owner in sorted({owner for owner, *_ in found}):
        if users.lock(c, owner):
            users.touch(c, owner)


def _strange(embedder: Embedder) -> ColumnElement[bool]:
    return or_(contexts.c.embedder != embedder.name, func.length(contexts.c.vector) != 4 * embedder.dimension)
