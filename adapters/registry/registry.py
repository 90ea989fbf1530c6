"""Which adapter answers whom: load → probe → flip → drain → unload, without a dropped request.

Lives in one event loop. ``acquire`` never awaits: look-up and in-flight count are one step, so no adapter is unloaded
between them. A name is unloaded only when it serves nobody by default and no request holds it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import engine_name, user_of
from adapters.lifecycle.activation import Transition
from adapters.lifecycle.versions import ServedVersions, Version
from adapters.ports import AdapterHost
from adapters.registry.background import Background
from adapters.registry.entries import Lease, LoadedAdapter, StillAnswering
from adapters.registry.loader import Loader
from adapters.registry.slots import Slots
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
OnSwap = Callable[[float, bool], None]
Choice = AbstractAsyncContextManager[Transition]
"""A user, what is to serve by default, and what is to be tried beside it."""
_PATIENCE = 10.0
"""Seconds a switch waits for the answers of what it replaced: many at once take turns, and no proxy gives one up."""


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
        self._drain_seconds = drain_seconds
        self._on_swap = on_swap
        self._loader = Loader(host, directories, base_sha256=base_sha256, resolves=resolves)
        self._slots = Slots(self._loader, capacity=capacity, of_tenant=of_tenant, pinned=pinned)
        self._background = Background(
            self.activate, version_of=version_of, capacity=capacity, retry_seconds=retry_seconds
        )
        self._leases: set[Lease] = set()

    @property
    def loaded(self) -> int:
        """How many adapters are in the engine."""
        return len(self._slots.adapters)

    @property
    def serving(self) -> int:
        """How many users an adapter serves by default."""
        return sum(entry.current is not None for entry in self._slots.entries)

    def acquire(self, user: User, dealt: int | None = None) -> Lease:
        """What serves ``user`` now, counted as in flight until ``release``; the canary where ``dealt`` is its number.

        While another version than ``user.active_adapter`` is loaded, that one serves (the base model, if none is, or
        if the user wants none), and the right one is activated in the background; so is the canary, and until then
        what serves by default answers in its stead.
        """
        entry = self._slots.get(user.owner)
        current, canary = (entry.current, entry.canary) if entry else (None, None)
        if current is not None and user_of(current.name) != user.opaque_id:
            current = None  # of a namesake who was erased
        if canary is not None and user_of(canary.name) != user.opaque_id:
            canary = None
        if (_number(current), _number(canary)) != (user.active_adapter, user.canary_adapter):
            self._background.activate_later(user)
        chosen = current if user.active_adapter else None
        if dealt and canary is not None and canary.version.version == dealt == user.canary_adapter:
            chosen = canary
        if chosen is None:
            return self._lease(None)
        self._slots.touch(user.owner)
        return self._lease(chosen)

    async def acquire_version(self, user: User, version: Version) -> Lease:
        """A named version for one request, loaded if need be; raises as ``activate``. What serves by default stays."""
        async with self._slots.hold(user.owner) as entry:
            return self._lease(await self._slots.ensure(user, entry, version))

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
        entry = self._slots.get(adapter.owner)
        if entry is not None and entry.adapters.get(adapter.name) is adapter and entry.is_idle(adapter):
            self._background.start(self._slots.unload_idle(adapter.owner))

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
        async with self._slots.hold(owner) as entry, choice as (user, version, canary):
            started = time.monotonic()
            try:
                new = None if version is None else await self._slots.ensure(user, entry, version)
            except Exception:
                self._tell_swap(started, done=False)
                raise
            gone = {adapter for adapter in (entry.current, entry.canary) if adapter is not None}
            if entry.current is not new:
                self._tell_swap(started, done=True)
            entry.current, entry.canary = new, entry.canary if canary is not None else None
            if canary is not None:
                try:
                    entry.canary = await self._slots.ensure(user, entry, canary)
                except BaseException:
                    self._background.start(self._slots.unload_idle(owner))  # what served before this switch
                    raise
            gone -= {new, entry.canary}
        self._background.clear_backoff(owner)
        await asyncio.gather(*(self._drain(adapter, min(_PATIENCE, self._drain_seconds)) for adapter in gone))
        await self._slots.unload_idle(owner)

    async def retire(self, user: User, version: int) -> None:
        """Unload a deleted version, for good; requests that hold it are waited for.

        Raises ``StillAnswering`` when one has not ended in time.
        """
        name = engine_name(user.opaque_id, version)
        self._loader.mark_gone(name)
        await self._withdraw([user.owner], lambda held: held == name)
        if self._resolves:  # others' requests brought it, too
            await self._host.unload(name)

    async def forget(self, opaque_id: str) -> None:
        """Unload all adapters of an erased user, for good; one that a request holds is waited for.

        Those too that another process left in the engine. Raises ``StillAnswering``, and ``EngineUnavailable`` or
        ``EngineRejected`` from the engine.
        """
        self._loader.mark_gone(opaque_id)
        await self._withdraw(self._slots.owners_of(opaque_id), lambda name: user_of(name) == opaque_id)
        await self._host.purge(lambda name: user_of(name) == opaque_id)

    def reset(self) -> None:
        """The engine restarted: nothing is loaded any more. Leases of before stay valid to release."""
        self._background.clear_backoffs()
        self._slots.clear()

    async def reconcile(self, lost: Lease | None = None) -> None:
        """Drop the adapters that the engine has no longer. Raises ``EngineUnavailable`` or ``EngineRejected``.

        It said that it does not have what ``lost`` holds. Of a host that resolves nothing else is known to be lost.
        """
        held = self._slots.adapters
        if self._resolves:
            names = {adapter.name for adapter in held if lost is None or adapter.name != lost.name}
        else:
            names = await self._host.loaded()
        for adapter in held:
            if adapter.name not in names and self._slots.lose(adapter):
                self._background.clear_backoff(adapter.owner)

    async def close(self) -> None:
        """End the background tasks; the engine is left as it is."""
        await self._background.close()

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

    async def _withdraw(self, owners: Collection[Owner], chosen: Callable[[str], bool]) -> None:
        """Serve nobody by the names ``chosen``, wait for who holds one, unload them. The caller marks them as gone."""
        for owner in owners:
            async with self._slots.hold(owner) as entry:
                if entry.canary is not None and chosen(entry.canary.name):
                    entry.canary = None
                if entry.current is not None and chosen(entry.current.name):
                    entry.current = None
                    self._tell_swap(time.monotonic(), done=True)
        # By leases, not entries: an answer may have begun before the engine was said to have restarted.
        held = {adapter for lease in self._leases if (adapter := lease._held) is not None and chosen(adapter.name)}
        await asyncio.gather(*(self._drain(adapter, self._drain_seconds) for adapter in held))
        for owner in owners:
            await self._slots.unload_idle(owner)
        if late := next((adapter for adapter in held if adapter.in_flight), None):
            raise StillAnswering(f"adapter version {late.version.version} still answers a request")

    async def _drain(self, adapter: LoadedAdapter, seconds: float) -> None:
        """Wait until no request holds an adapter, but not for longer; the last release unloads what is late."""
        try:
            async with asyncio.timeout(seconds):
                await adapter.idle.wait()
        except TimeoutError:
            log.info("adapter %s still answers requests after %s s", adapter.name, seconds)

    def _tell_swap(self, started: float, *, done: bool) -> None:
        if self._on_swap is not None:
            self._on_swap(time.monotonic() - started, done)


def _number(adapter: LoadedAdapter | None) -> int:
    return 0 if adapter is None else adapter.version.version
