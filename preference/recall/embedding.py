"""Contexts that another embedder than the one set has embedded: whether there are any, and bringing them over."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_, update

from preference.ports import Embedder, Vectors
from store import users
from store.owner import Owner
from store.rows import scope
from store.tables import contexts

BATCH = 64
"""Texts that are embedded, and rows that are written, at once."""
_KEY = (contexts.c.tenant_id, contexts.c.user_id, contexts.c.preference_id, contexts.c.id)


@dataclass(frozen=True)
class StaleContext:
    """A context that is to be embedded anew: whose it is, its key, its text."""

    owner: Owner
    preference_id: str
    id: str
    text: str


def stranger(c: Connection, embedder: Embedder) -> str | None:
    """The embedder of the last context by key, if it is another one or gives vectors of another length; else None.

    One row tells it, because ``some`` goes through them in this order: an index would only mislead other queries.
    """
    last = [column.desc() for column in contexts.primary_key]
    row = c.execute(select(contexts.c.embedder, func.length(contexts.c.vector)).order_by(*last).limit(1)).first()
    return None if row is None or tuple(row) == (embedder.name, 4 * embedder.dimension) else str(row[0])


def count(c: Connection, embedder: Embedder) -> int:
    """How many contexts ``bring_over`` would embed anew."""
    return int(c.execute(select(func.count()).select_from(contexts).where(_strange(embedder))).scalar_one())


def some(c: Connection, embedder: Embedder, after: StaleContext | None = None) -> list[StaleContext]:
    """The next of them after a place, in the order of their keys."""
    query = select(*_KEY, contexts.c.text).where(_strange(embedder))
    if after is not None:
        query = query.where(tuple_(*_KEY) > (after.owner.tenant, after.owner.user, after.preference_id, after.id))
    rows = c.execute(query.order_by(*_KEY).limit(BATCH))
    return [
        StaleContext(Owner(tenant, user), preference_id, id, text) for tenant, user, preference_id, id, text in rows
    ]


def bring_over(c: Connection, found: Sequence[StaleContext], embedder: Embedder, vectors: Vectors) -> None:
    """Store the vectors, [contexts, dimension], of what ``some`` found; what was erased meanwhile stays so."""
    for one, vector in zip(found, vectors, strict=True):
        named = and_(contexts.c.preference_id == one.preference_id, contexts.c.id == one.id)
        this = and_(scope(contexts, one.owner), named)
        stored = {"embedder": embedder.name, "vector": vector.astype("<f4").tobytes()}
        c.execute(update(contexts).where(this).values(**stored))
    for owner in sorted({one.owner for one in found}):
        if users.lock(c, owner):
            users.touch(c, owner)


def _strange(embedder: Embedder) -> ColumnElement[bool]:
    return or_(contexts.c.embedder != embedder.name, func.length(contexts.c.vector) != 4 * embedder.dimension)
