"""Rows of ``spent_keys``: what was answered to requests whose feedback is deleted, so that a repeat stores nothing.

Neither a key nor a body is kept, but what recognises them.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_

from store.errors import IdempotencyConflict
from store.owner import Owner
from store.rows import key, scope
from store.tables import spent_keys


@dataclass(frozen=True)
class Spent:
    """What was answered to a request whose feedback is deleted, at ``spent_at`` (Unix seconds)."""

    spent_at: float
    key_sha256: str
    answer: Mapping[str, Any]


def spend(c: Connection, owner: Owner, idempotency_key: str, body_sha256: str, answer: Mapping[str, Any]) -> None:
    """Remember the answer to a request that is about to be forgotten."""
    values = {"key_sha256": _digest(idempotency_key), "body_sha256": _digest(idempotency_key, body_sha256)}
    c.execute(insert(spent_keys).values(**key(owner), **values, answer=dict(answer), spent_at=time.time()))


def answer_of(c: Connection, owner: Owner, idempotency_key: str, body_sha256: str) -> dict[str, Any] | None:
    """The answer of then. Raises ``IdempotencyConflict`` when the key came with another body."""
    query = select(spent_keys.c.body_sha256, spent_keys.c.answer)
    this = spent_keys.c.key_sha256 == _digest(idempotency_key)
    row = c.execute(query.where(scope(spent_keys, owner), this)).first()
    if row is None:
        return None
    if row.body_sha256 != _digest(idempotency_key, body_sha256):
        raise IdempotencyConflict("this Idempotency-Key was used with another body", param="Idempotency-Key")
    return {**row.answer, "idempotency_key": idempotency_key}


def page(c: Connection, owner: Owner, *, after: Spent | None = None, limit: int = 500) -> list[Spent]:
    """The next answers that are remembered for this user, oldest first: for the export."""
    order = (spent_keys.c.spent_at, spent_keys.c.key_sha256)
    query = select(*order, spent_keys.c.answer).where(scope(spent_keys, owner)).order_by(*order).limit(limit)
    if after is not None:
        query = query.where(tuple_(*order) > (after.spent_at, after.key_sha256))
    return [Spent(*row) for row in c.execute(query)]


def prune(c: Connection, before: float) -> None:
    """Forget what was spent before."""
    c.execute(delete(spent_keys).where(spent_keys.c.spent_at < before))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
