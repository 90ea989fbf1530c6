"""How much a tenant may keep: asked before anything more is stored, and before the engine is asked for it."""

from functools import partial

from cachetools import LRUCache

from server.errors import QuotaExceeded
from server.once import Once
from store import bytes_held
from store.database import Database

_AGE, _PATIENCE = 5.0, 10.0  # seconds
_TENANTS = 10_000


class Quota:
    """``limit`` is in bytes, None for none. Counted every few seconds at most, so that a tenant may exceed it by these.

    In one event loop.
    """

    def __init__(self, database: Database, limit: int | None) -> None:
        self._database = database
        self._limit = limit
        self._held: LRUCache[str, Once[int]] = LRUCache(_TENANTS)

    async def check(self, tenant: str) -> None:
        """Raise ``QuotaExceeded`` where the tenant keeps as much as it may."""
        left = await self.left(tenant)
        if left is not None and left <= 0:
            raise QuotaExceeded(self._limit or 0)

    async def left(self, tenant: str) -> int | None:
        """Bytes that the tenant may keep beside what it does; None for any."""
        if self._limit is None:
            return None
        held = self._held.get(tenant)
        if held is None:
            ask = partial(self._database.read, bytes_held.held, tenant)
            held = self._held[tenant] = Once(ask, age=_AGE, patience=_PATIENCE)
        counted = await held()
        return None if counted is None else self._limit - counted  # a store so slow keeps nobody else waiting
