"""The disk as a bounded cache of the object store: the least recently used versions go, never one that is in use."""

import asyncio
import logging
import time

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import served_name
from adapters.ports import AdapterList
from store.errors import AttuneError

log = logging.getLogger(__name__)
_EVERY = 30.0
_FRESH = 120.0
"""Seconds after its last use in which a version stays: somebody may be about to load it, or be sending it."""


class NoReaders:
    """An ``AdapterList`` where no engine reads this disk."""

    async def loaded(self) -> set[str]:
        """Nothing."""
        return set()


class DiskCache:
    """Keeps the published versions on this disk below ``limit`` bytes, as far as they can be spared.

    In use is what the engine would serve now, whichever process loaded it: vLLM reads an adapter's files again when it
    dropped the weights to make room.
    """

    def __init__(self, directories: Directories, host: AdapterList, limit: int) -> None:
        self._directories = directories
        self._host = host
        self._limit = limit

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.trim()
            except AttuneError as error:  # who cannot say what is in use lets nothing go
                log.warning("the disk cache of adapters was not trimmed: %s", error.message)
            except Exception:
                log.exception("the disk cache of adapters was not trimmed")
            await asyncio.sleep(_EVERY)

    async def trim(self) -> int:
        """Evict what is too much, least recently used first; how many. Raises as ``AdapterList`` does."""
        copies = await asyncio.to_thread(self._directories.copies)
        excess, evicted = sum(copy.size for copy in copies) - self._limit, 0
        if excess <= 0:
            return 0
        in_use = {served_name(name) for name in await self._host.loaded()}
        for copy in copies:
            if excess <= 0 or time.time() - copy.used_at < _FRESH:
                break
            if copy.name not in in_use and await asyncio.to_thread(self._directories.evict, copy):
                excess -= copy.size
                evicted += 1
        return evicted
