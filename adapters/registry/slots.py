"""The slots of one engine: whose adapters take them, and who makes room for whom."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from adapters.artifacts.names import engine_name
from adapters.lifecycle.versions import Version
from adapters.registry.entries import Entry, LoadedAdapter
from adapters.registry.loader import Loader
from store.errors import EngineUnavailable
from store.owner import Owner
from store.users import User


class Slots:
    """Users' entries, least recently used first. For the arguments see ``Registry``."""

    def __init__(
        self,
        loader: Loader,
        *,
        capacity: int,
        of_tenant: Callable[[], Awaitable[int]] | None,
        pinned: Callable[[Owner], bool],
    ) -> None:
        self._loader = loader
        self._capacity = capacity
        self._of_tenant = of_tenant
        self._pinned = pinned
        self._entries: OrderedDict[Owner, Entry] = OrderedDict()
        self._epoch = 0

    @property
    def entries(self) -> Iterable[Entry]:
        """Of all users who have one."""
        return self._entries.values()

    @property
    def adapters(self) -> list[LoadedAdapter]:
        """All that are loaded."""
        return [adapter for entry in self._entries.values() for adapter in entry.adapters.values()]

    def get(self, owner: Owner) -> Entry | None:
        """The user's entry, if there is one."""
        return self._entries.get(owner)

    def owners_of(self, opaque_id: str) -> list[Owner]:
        """Whose entries have, or are about to have, an adapter of that user."""
        return [owner for owner, entry in self._entries.items() if entry.is_of(opaque_id)]

    def touch(self, owner: Owner) -> None:
        """The user's adapters were used just now: others make room first."""
        self._entries.move_to_end(owner)

    @asynccontextmanager
    async def hold(self, owner: Owner) -> AsyncIterator[Entry]:
        """The user's entry, locked; an entry is dropped when it is empty and nobody holds it or waits for it."""
        entry = self._entries.setdefault(owner, Entry())
        entry.holders += 1
        try:
            async with entry.lock:
                yield entry
        finally:
            entry.holders -= 1
            self._drop_if_empty(owner, entry)

    async def ensure(self, user: User, entry: Entry, version: Version) -> LoadedAdapter:
        """The adapter, loaded and probed; the caller holds the entry. Raises as ``Registry.activate``."""
        name = engine_name(user.opaque_id, version.version)
        self._loader.check_not_gone(user, name)
        found = entry.adapters.get(name)
        if found is not None:
            return found
        await self._loader.verify(user, version)
        epoch = self._epoch
        entry.loading = user.opaque_id
        adapter = LoadedAdapter(user.owner, version, name)
        adapter.idle.set()
        try:
            async with self._loader.turn(user.owner.tenant):
                # Not before: whoever waits for a turn would push out what serves, and be pushed out by the next.
                await self._make_room(user.owner, entry)
                entry.takes_slot = True
                await self._loader.load(adapter)
            await self._loader.probe(adapter)
            if epoch != self._epoch:
                raise EngineUnavailable("the engine restarted while an adapter was being loaded")
            self._loader.check_not_gone(user, name)
        except BaseException:
            await self._loader.unload(adapter)
            raise
        finally:
            entry.loading, entry.takes_slot = "", False
        entry.adapters[name] = adapter
        self.touch(user.owner)
        return adapter

    async def unload_idle(self, owner: Owner) -> None:
        """Unload the user's adapters that neither serve by default nor answer a request."""
        async with self.hold(owner) as entry:
            await self._unload_from(entry)

    def lose(self, adapter: LoadedAdapter) -> bool:
        """The engine has it no longer. False where it was unloaded, or lost, before."""
        entry = self._entries.get(adapter.owner)
        if entry is None or entry.adapters.get(adapter.name) is not adapter:
            return False
        del entry.adapters[adapter.name]
        entry.current = None if entry.current is adapter else entry.current
        entry.canary = None if entry.canary is adapter else entry.canary
        self._drop_if_empty(adapter.owner, entry)
        return True

    def clear(self) -> None:
        """The engine restarted: nothing is loaded any more, nor is what is being loaded now."""
        self._epoch += 1
        for owner, entry in list(self._entries.items()):
            entry.adapters.clear()
            entry.current = entry.canary = None
            self._drop_if_empty(owner, entry)

    def _drop_if_empty(self, owner: Owner, entry: Entry) -> None:
        if not entry.adapters and not entry.holders and self._entries.get(owner) is entry:
            del self._entries[owner]

    async def _make_room(self, owner: Owner, entry: Entry) -> None:
        """Evict idle users, least recently used first, until one more adapter fits in. Raises ``EngineUnavailable``.

        Of the same tenant, while it has all that a tenant may have. What serves the entry by default takes no place:
        the new one replaces it, or is one more for a request.
        """
        quota = self._capacity if self._of_tenant is None else await self._of_tenant()

        def over() -> tuple[bool, bool]:  # the tenant's own slots, or all
            own = quota < self._capacity and self._taken(entry, owner.tenant) >= quota
            return own, self._taken(entry) >= self._capacity

        if any(over()):
            await self._unload_from(entry)
        while any(over()):
            own, _ = over()
            idle = (o for o, s in self._entries.items() if s is not entry and s.evictable and not self._pinned(o))
            victim = next((o for o in idle if not own or o.tenant == owner.tenant), None)
            if victim is None:
                which = f"the {quota} places of a tenant" if own else f"all {self._capacity} places"
                raise EngineUnavailable(f"{which} for adapters are in use")
            async with self.hold(victim) as evicted:  # free, so this does not wait
                evicted.current = evicted.canary = None
                await self._unload_from(evicted)

    def _taken(self, entry: Entry, tenant: str | None = None) -> int:
        """How many slots are taken, by a tenant or by all, but for the one that ``entry`` may replace."""
        entries = [s for owner, s in self._entries.items() if tenant is None or owner.tenant == tenant]
        return sum(len(s.adapters) + s.takes_slot for s in entries) - (entry.current is not None)

    async def _unload_from(self, entry: Entry) -> None:
        for name, adapter in list(entry.adapters.items()):
            if entry.is_idle(adapter) and entry.adapters.pop(name, None) is not None:
                await self._loader.unload(adapter)
