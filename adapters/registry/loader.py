"""What one engine is asked for: to load, probe and unload adapters, one load at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from cachetools import FIFOCache

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import user_of
from adapters.lifecycle.versions import Version
from adapters.ports import AdapterHost
from adapters.registry.entries import LoadedAdapter
from store.errors import AttuneError, Conflict, Invalid, NotFound
from store.users import User

log = logging.getLogger(__name__)
_PROBE = ({"role": "user", "content": "Hello"},)
_REMEMBERED = 4096
"""How many erased users and deleted versions are remembered; the oldest go first."""


class Loader:
    """Brings published adapters into an engine and takes them out. For the arguments see ``Registry``."""

    def __init__(
        self,
        host: AdapterHost,
        directories: Directories,
        *,
        base_sha256: Callable[[], Awaitable[str | None]] | None,
        resolves: bool,
    ) -> None:
        self._host = host
        self._directories = directories
        self._base_sha256 = base_sha256
        self._resolves = resolves
        self._gone: FIFOCache[str, None] = FIFOCache(_REMEMBERED)
        # The engine loads between two steps of everybody's answers: loads at once would add up to one long stall.
        self._one_load = asyncio.Lock()
        # A tenant with many loads waits for its own: others' loads come in between.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def mark_gone(self, name: str) -> None:
        """Load no more what is gone for good: a version by its name, or all of an erased user by the opaque id."""
        self._gone[name] = None

    def check_not_gone(self, user: User, name: str) -> None:
        """Raise ``NotFound`` for a user or a version that is gone for good."""
        if user.opaque_id in self._gone:
            raise NotFound("there is no such user", param="user")
        if name in self._gone:
            raise NotFound("there is no such adapter version", param="version")

    async def verify(self, user: User, version: Version) -> None:
        """Raise as ``Registry.activate`` unless the version is ready, its files are there, and its base is ours."""
        if version.state != "ready":
            raise Conflict(f"adapter version {version.version} is {version.state}, not ready", param="version")
        known = self._directories.manifest if self._resolves else self._directories.verified
        manifest = await asyncio.to_thread(known, user.opaque_id, version.version)
        base = None if self._base_sha256 is None else await self._base_sha256()
        if base is not None and manifest.base_sha256 not in (base, ""):
            raise Invalid(f"adapter version {version.version} was made for another base model", param="version")

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """The tenant's turn to load: nobody else loads meanwhile."""
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        async with turn, self._one_load:
            yield

    async def load(self, adapter: LoadedAdapter) -> None:
        """Load it; the caller has the turn."""
        # A name stands for the same weights for ever: one that a cancelled load left is as good as new.
        path = self._directories.path(user_of(adapter.name), adapter.version.version)
        await self._host.load(adapter.name, path)

    async def probe(self, adapter: LoadedAdapter) -> None:
        """Have it answer once."""
        await self._host.generate(_PROBE, max_tokens=1, model=adapter.name)

    async def unload(self, adapter: LoadedAdapter) -> None:
        """Unload; where the engine cannot, it is gone or restarting, and the name with it."""
        if self._resolves and not {adapter.name, user_of(adapter.name)} & self._gone.keys():
            return  # other servers' requests may name it
        try:
            await asyncio.shield(self._host.unload(adapter.name))
        except AttuneError as error:
            log.warning("adapter %s could not be unloaded: %s", adapter.name, error.message)
