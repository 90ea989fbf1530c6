"""Rows of ``erasures``: a tombstone for each erased user, so that every process drops what it holds of that user.

A tombstone is the random ``opaque_id`` alone: it names caches, folders and adapters, and nobody. A cohort adapter that
learned from the user has one of its own.
"""

import time
from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select

from store.tables import erasures

KEPT_SECONDS = 30 * 86_400.0
"""How long a tombstone is kept: a data folder that was away for longer may still hold what was erased."""
_AT_ONCE = 500  # ids in one query


def record(c: Connection, opaque_id: str) -> None:
    """Leave a tombstone, and drop those that are too old. The caller deletes the user in the same transaction."""
    now = time.time()
    c.execute(delete(erasures).where(erasures.c.erased_at < now - KEPT_SECONDS))
    c.execute(insert(erasures).values(opaque_id=opaque_id, erased_at=now))


def since(c: Connection, erased_at: float) -> list[str]:
    """The opaque ids of users erased at ``erased_at`` or later, oldest first."""
    query = select(erasures.c.opaque_id).where(erasures.c.erased_at >= erased_at).order_by(erasures.c.erased_at)
    return list(c.execute(query).scalars())


def among(c: Connection, opaque_ids: Collection[str]) -> set[str]:
    """Which of ``opaque_ids`` belong to erased users."""
    asked, found = sorted(opaque_ids), set[str]()
    for start in range(0, len(asked), _AT_ONCE):
        query = select(erasures.c.opaque_id).where(erasures.c.opaque_id.in_(asked[start : start + _AT_ONCE]))
        found.update(c.execute(query).scalars())
    return found
