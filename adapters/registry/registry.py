"""Which adapter answers whom: load → probe → flip → drain → unload, without a dropped request.

Lives in one event loop. ``acquire`` never awaits: look-up and in-flight count are one step, so no adapter is unloaded
between them. A name is unloaded only when it serves nobody by default and no request holds it.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import engine_name, user_of
from adapters.lifecycle.activation import Transition
from adapters.lifecycle.versions import ServedVersions, Version
from adapters.ports import AdapterHost
from adapters.registry.entries import Entry, Lease, LoadedAdapter, StillAnswering
from store.errors import AttuneError, Conflict, EngineUnavailable, Invalid, NotFound
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
_PROBE = ({"role": "user", "content": "Hello"},)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
OnSwap = Callable[[float, bool], None]
Choice = AbstractAsyncContextManager[Transition]
"""A user, what is to serve by default, and what is to be tried beside it."""
_PATIENCE = 10.0
"""Seconds a switch waits for the answers of what it replaced: many at once take turns, and no proxy gives one up."""
_QUEUE = 16
"""How many may wait for their adapters to be loaded, where there are fewer slots."""
_REMEMBERED = 4096
"""How many failed activations, and erased users and deleted versions, are remembered; the oldest go first."""


class Registry:
    """The adapters in one engine. ``capacity`` bounds how many are there; idle users make room, oldest first.

    ``of_tenant`` says how many of them one tenant may have: what is in use makes no room for others.
    The engine needs room for a few more: one that is swapped in beside the one it replaces, and the two that a gate
    loads. ``version_of`` reads from the rows which version should serve a user now, and which one is tried beside it.
    ``base_sha256`` gives the base
    model's hash, or None where it cannot be known; it is asked at each load, adapters of another base model are
    refused, and so are all while it raises. A ``pinned`` user makes no room for others. ``on_swap`` is told of each
    change of what serves a user: the seconds it took, and whether it succeeded.

    A host that ``resolves`` is any number of engines, each of which brings and checks an adapter when it is asked for
    it, and makes room by itself: then no file is needed here, and only what is to be gone for good is unloaded.
    """

    def __init__(
        self,
        host: AdapterHost,
        directories: Directories,
        *,
        capacity: int,
        of_tenant: Callable[[], Awaitable[int]] | None = None,
        version_of: Callable[[User], Awaitable[ServedVersions]],
        base_sha256: Callable[[], Awaitable[str | None]] | None = None,
        pinned: Callable[[Owner], bool] = lambda owner: False,
        drain_seconds: float = 60.0,
        retry_seconds: float = 3.0,
        on_swap: OnSwap | None = None,
        resolves: bool = False,
    ) -> None:
        self._resolves = resolves
        self._host = host
        self._directories = directories
        self._capacity = capacity
        self._of_tenant = of_tenant
        self._version_of = version_of
        self._base_sha256 = base_sha256
        self._pinned = pinned
        self._drain_seconds = drain_seconds
        self._retry_seconds = retry_seconds
        self._on_swap = on_swap
        self._entries: OrderedDict[Owner, Entry] = OrderedDict()
        self._leases: set[Lease] = set()
        self._activating: set[Owner] = set()
        self._not_before: OrderedDict[Owner, float] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        # The engine loads between two steps of everybody's answers: loads at once would add up to one long stall.
        self._one_load = asyncio.Lock()
        # A tenant with many loads waits for its own: others' loads come in between.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._epoch = 0

    @property
    def loaded(self) -> int:
        """How many adapters are in the engine."""
        return sum(len(entry.adapters) for entry in self._entries.values())

    @property
    def serving(self) -> int:
        """How many users an adapter serves by default."""
        return sum(entry.current is not None for entry in self._entries.values())

    def acquire(self, user: User, dealt: int | None = None) -> Lease:
        """What serves ``user`` now, counted as in flight until ``release``; the canary where ``dealt`` is its number.

        While another version than ``user.active_adapter`` is loaded, that one serves (the base model, if none is, or
        if the user wants none), and the right one is activated in the background; so is the canary, and until then
        what serves by default answers in its stead.
        """
        entry = self._entries.get(user.owner)
        current, canary = (entry.current, entry.canary) if entry else (None, None)
        if current is not None and user_of(current.name) != user.opaque_id:
            current = None  # of a namesake who was erased
        if canary is not None and user_of(canary.name) != user.opaque_id:
            canary = None
        if (_number(current), _number(canary)) != (user.active_adapter, user.canary_adapter):
            self._activate_later(user)
        chosen = current if user.active_adapter else None
        if dealt and canary is not None and canary.version.version == dealt == user.canary_adapter:
            chosen = canary
        if chosen is None:
            return self._lease(None)
        self._entries.move_to_end(user.owner)
        return self._lease(chosen)

    async def acquire_version(self, user: User, version: Version) -> Lease:
        """A named version for one request, loaded if need be; raises as ``activate``. What serves by default stays."""
        async with self._hold(user.owner) as entry:
            return self._lease(await self._ensure(user, entry, version))

    def release(self, lease: Lease) -> None:
        """The request is over. A second release of one lease does nothing."""
        if lease not in self._leases:
            return
        self._leases.discard(lease)
        adapter = lease._held
        if adapter is None:
            return
        adapter.in_flight -= 1
        if adapter.in_flight:
            return
        adapter.idle.set()
        entry = self._entries.get(adapter.owner)
        if entry is not None and entry.adapters.get(adapter.name) is adapter and entry.is_idle(adapter):
            self._start(self._unload_idle(adapter.owner))

    async def activate(self, user: User, version: Version | None, canary: Version | None = None) -> None:
        """Serve ``user`` with ``version``, None for the base model: load, probe, flip, drain, unload the old one.

        And have ``canary`` ready beside it.

        One at a time for each user. Raises ``Conflict`` for a version that is not ready, ``Invalid`` for one of
        another base model or with other files than were published, ``NotFound`` without its directory,
        ``EngineUnavailable`` or ``EngineRejected`` from the engine; what served before then goes on serving.
        """
        await self.switch(user.owner, nullcontext(Transition(user, version, canary)))

    async def switch(self, owner: Owner, choice: Choice) -> None:
        """``activate`` what ``choice`` gives: entered when it is its turn, left when that serves, or with the error.

        So a choice that writes rows, and takes them back at an error, finds none that another one will take back.
        """
        async with self._hold(owner) as entry, choice as (user, version, canary):
            started = time.monotonic()
            try:
                new = None if version is None else await self._ensure(user, entry, version)
            except Exception:
                self._tell_swap(started, done=False)
                raise
            gone = {adapter for adapter in (entry.current, entry.canary) if adapter is not None}
            if entry.current is not new:
                self._tell_swap(started, done=True)
            entry.current, entry.canary = new, entry.canary if canary is not None else None
            if canary is not None:
                try:
                    entry.canary = await self._ensure(user, entry, canary)
                except BaseException:
                    self._start(self._unload_idle(owner))  # what served before this switch
                    raise
            gone -= {new, entry.canary}
        self._not_before.pop(owner, None)
        await asyncio.gather(*(self._drain(adapter, min(_PATIENCE, self._drain_seconds)) for adapter in gone))
        await self._unload_idle(owner)

    async def retire(self, user: User, version: int) -> None:
        """Unload a deleted version, for good; requests that hold it are waited for.

        Raises ``StillAnswering`` when one has not ended in time.
        """
        name = engine_name(user.opaque_id, version)
        _remember(self._gone, name, None)
        await self._withdraw([user.owner], lambda held: held == name)
        if self._resolves:  # others' requests brought it, too
            await self._host.unload(name)

    async def forget(self, opaque_id: str) -> None:
        """Unload all adapters of an erased user, for good; one that a request holds is waited for.

        Those too that another process left in the engine. Raises ``StillAnswering``, and ``EngineUnavailable`` or
        ``EngineRejected`` from the engine.
        """
        _remember(self._gone, opaque_id, None)
        owners = [owner for owner, entry in self._entries.items() if entry.is_of(opaque_id)]
        await self._withdraw(owners, lambda name: user_of(name) == opaque_id)
        await self._host.purge(lambda name: user_of(name) == opaque_id)

    def reset(self) -> None:
        """The engine restarted: nothing is loaded any more. Leases of before stay valid to release."""
        self._epoch += 1
        self._not_before.clear()
        for owner, entry in list(self._entries.items()):
            entry.adapters.clear()
            entry.current = entry.canary = None
            self._drop_if_empty(owner, entry)

    async def reconcile(self, lost: Lease | None = None) -> None:
        """Drop the adapters that the engine has no longer. Raises ``EngineUnavailable`` or ``EngineRejected``.

        It said that it does not have what ``lost`` holds. Of a host that resolves nothing else is known to be lost.
        """
        held = [adapter for entry in self._entries.values() for adapter in entry.adapters.values()]
        if self._resolves:
            names = {adapter.name for adapter in held if lost is None or adapter.name != lost.name}
        else:
            names = await self._host.loaded()
        for adapter in held:
            entry = self._entries.get(adapter.owner)
            if adapter.name in names or entry is None or entry.adapters.get(adapter.name) is not adapter:
                continue
            del entry.adapters[adapter.name]
            entry.current = None if entry.current is adapter else entry.current
            entry.canary = None if entry.canary is adapter else entry.canary
            self._not_before.pop(adapter.owner, None)
            self._drop_if_empty(adapter.owner, entry)

    async def close(self) -> None:
        """End the background tasks; the engine is left as it is."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lease(self, adapter: LoadedAdapter | None) -> Lease:
        if adapter is None:
            lease = Lease(0, None, "retrieval", 0.0)
        else:
            adapter.in_flight += 1
            adapter.idle.clear()
            version = adapter.version
            lease = Lease(version.version, adapter.name, version.mode, version.learned_through, adapter)
        self._leases.add(lease)
        return lease

    @asynccontextmanager
    async def _hold(self, owner: Owner) -> AsyncIterator[Entry]:
        """The user's entry, locked; a entry is dropped when it is empty and nobody holds it or waits for it."""
        entry = self._entries.setdefault(owner, Entry())
        entry.holders += 1
        try:
            async with entry.lock:
                yield entry
        finally:
            entry.holders -= 1
            self._drop_if_empty(owner, entry)

    def _drop_if_empty(self, owner: Owner, entry: Entry) -> None:
        if not entry.adapters and not entry.holders and self._entries.get(owner) is entry:
            del self._entries[owner]

    async def _ensure(self, user: User, entry: Entry, version: Version) -> LoadedAdapter:
        """The adapter, loaded and probed; the caller holds the entry."""
        name = engine_name(user.opaque_id, version.version)
        self._check_not_gone(user, name)
        found = entry.adapters.get(name)
        if found is not None:
            return found
        if version.state != "ready":
            raise Conflict(f"adapter version {version.version} is {version.state}, not ready", param="version")
        known = self._directories.manifest if self._resolves else self._directories.verified
        manifest = await asyncio.to_thread(known, user.opaque_id, version.version)
        base = None if self._base_sha256 is None else await self._base_sha256()
        if base is not None and manifest.base_sha256 not in (base, ""):
            raise Invalid(f"adapter version {version.version} was made for another base model", param="version")
        epoch = self._epoch
        entry.loading = user.opaque_id
        adapter = LoadedAdapter(user.owner, version, name)
        adapter.idle.set()
        try:
            turn = self._turns.setdefault(user.owner.tenant, asyncio.Lock())
            async with turn, self._one_load:
                # Not before: whoever waits for a turn would push out what serves, and be pushed out by the next.
                await self._make_room(user.owner, entry)
                entry.takes_slot = True
                # A name stands for the same weights for ever: one that a cancelled load left is as good as new.
                await self._host.load(adapter.name, self._directories.path(user.opaque_id, version.version))
            await self._host.generate(_PROBE, max_tokens=1, model=adapter.name)
            if epoch != self._epoch:
                raise EngineUnavailable("the engine restarted while an adapter was being loaded")
            self._check_not_gone(user, name)
        except BaseException:
            await self._unload(adapter)
            raise
        finally:
            entry.loading, entry.takes_slot = "", False
        entry.adapters[name] = adapter
        self._entries.move_to_end(user.owner)
        return adapter

    def _check_not_gone(self, user: User, name: str) -> None:
        if user.opaque_id in self._gone:
            raise NotFound("there is no such user", param="user")
        if name in self._gone:
            raise NotFound("there is no such adapter version", param="version")

    async def _make_room(self, owner: Owner, entry: Entry) -> None:
        """Evict idle users, least recently used first, until one more adapter fits in. Raises ``EngineUnavailable``.

        Of the same tenant, while it has all that a tenant may have. What serves the entry by default takes no place:
        the new one replaces it, or is one more for a request.
        """
        quota = self._capacity if self._of_tenant is None else await self._of_tenant()

        def over() -> tuple[bool, bool]:  # the tenant's own slots, or all
            return quota < self._capacity and self._taken(entry, owner.tenant) >= quota, self._is_full(entry)

        if any(over()):
            await self._unload_from(entry)
        while any(over()):
            own, _ = over()
            victims = (o for o, s in self._entries.items() if s is not entry and self._may_go(o, s))
            victim = next((o for o in victims if not own or o.tenant == owner.tenant), None)
            if victim is None:
                which = f"the {quota} places of a tenant" if own else f"all {self._capacity} places"
                raise EngineUnavailable(f"{which} for adapters are in use")
            async with self._hold(victim) as evicted:  # free, so this does not wait
                evicted.current = evicted.canary = None
                await self._unload_from(evicted)

    def _may_go(self, owner: Owner, entry: Entry) -> bool:
        return entry.evictable and not self._pinned(owner)

    def _is_full(self, entry: Entry) -> bool:
        return self._taken(entry) >= self._capacity

    def _taken(self, entry: Entry, tenant: str | None = None) -> int:
        """How many slots are taken, by a tenant or by all, but for the one that ``entry`` may replace."""
        entries = [s for owner, s in self._entries.items() if tenant is None or owner.tenant == tenant]
        return sum(len(s.adapters) + s.takes_slot for s in entries) - (entry.current is not None)

    async def _withdraw(self, owners: Collection[Owner], chosen: Callable[[str], bool]) -> None:
        """Serve nobody by the names ``chosen``, wait for who holds one, unload them. The caller marks them as gone."""
        for owner in owners:
            async with self._hold(owner) as entry:
                if entry.canary is not None and chosen(entry.canary.name):
                    entry.canary = None
                if entry.current is not None and chosen(entry.current.name):
                    entry.current = None
                    self._tell_swap(time.monotonic(), done=True)
        # By leases, not entries: an answer may have begun before the engine was said to have restarted.
        held = {adapter for lease in self._leases if (adapter := lease._held) is not None and chosen(adapter.name)}
        await asyncio.gather(*(self._drain(adapter, self._drain_seconds) for adapter in held))
        for owner in owners:
            await self._unload_idle(owner)
        if late := next((adapter for adapter in held if adapter.in_flight), None):
            raise StillAnswering(f"adapter version {late.version.version} still answers a request")

    async def _drain(self, adapter: LoadedAdapter, seconds: float) -> None:
        """Wait until no request holds an adapter, but not for longer; the last release unloads what is late."""
        try:
            async with asyncio.timeout(seconds):
                await adapter.idle.wait()
        except TimeoutError:
            log.info("adapter %s still answers requests after %s s", adapter.name, seconds)

    async def _unload_idle(self, owner: Owner) -> None:
        """Unload the user's adapters that neither serve by default nor answer a request."""
        async with self._hold(owner) as entry:
            await self._unload_from(entry)

    async def _unload_from(self, entry: Entry) -> None:
        for name, adapter in list(entry.adapters.items()):
            if entry.is_idle(adapter) and entry.adapters.pop(name, None) is not None:
                await self._unload(adapter)

    async def _unload(self, adapter: LoadedAdapter) -> None:
        """Unload; where the engine cannot, it is gone or restarting, and the name with it."""
        if self._resolves and not {adapter.name, user_of(adapter.name)} & self._gone.keys():
            return  # other servers' requests may name it
        try:
            await asyncio.shield(self._host.unload(adapter.name))
        except AttuneError as error:
            log.warning("adapter %s could not be unloaded: %s", adapter.name, error.message)

    def _tell_swap(self, started: float, *, done: bool) -> None:
        if self._on_swap is not None:
            self._on_swap(time.monotonic() - started, done)

    def _activate_later(self, user: User) -> None:
        if user.owner in self._activating or time.monotonic() < self._not_before.get(user.owner, 0.0):
            return
        if len(self._activating) >= max(self._capacity, _QUEUE):
            return  # more than fit: the first would be pushed out before the last is loaded
        self._activating.add(user.owner)
        self._start(self._activate_from_rows(user))

    async def _activate_from_rows(self, user: User) -> None:
        """Activate what the rows say. Where that fails, or ``user`` was stale, not again for a few seconds."""
        settled = False
        try:
            version, canary = await self._version_of(user)
            await self.activate(user, version, canary)
            serve = tuple(one.version if one else 0 for one in (version, canary))
            settled = serve == (user.active_adapter, user.canary_adapter)
        except AttuneError as error:
            log.warning("the adapter of %s is not active yet: %s", user.opaque_id, error.message)
        finally:
            self._activating.discard(user.owner)
            if not settled:
                _remember(self._not_before, user.owner, time.monotonic() + self._retry_seconds)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work on adapters failed", exc_info=error)


def _number(adapter: LoadedAdapter | None) -> int:
    return 0 if adapter is None else adapter.version.version


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
