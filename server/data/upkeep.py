"""From time to time: what grows is cut back, and what killed processes left on the disk goes."""

import asyncio
import logging
import math
import time
from collections.abc import Sequence

from sqlalchemy import Connection

from adapters.artifacts.directories import Directories
from adapters.lifecycle import versions
from store import idempotency, jobs, limits, tokens, turns, usage, users
from store.database import Database
from store.errors import Invalid, NotFound
from store.owner import Owner

log = logging.getLogger(__name__)

_EVERY = 6 * 3600.0
_DAY = 86_400.0
_BATCH = 500  # rows in one transaction: others want to write, too
_OWNERS = 50


class Upkeep:
    """Runs beside the workers, once at the start and then every few hours. ``turns_days`` None keeps all turns."""

    def __init__(
        self,
        database: Database,
        directories: Directories,
        *,
        jobs_days: float,
        turns_days: float | None,
        usage_days: float = 400.0,
    ) -> None:
        self._database = database
        self._directories = directories
        self._jobs_days = jobs_days
        self._turns_days = turns_days
        self._usage_days = usage_days

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            for part in (self.tidy, self.prune):
                try:
                    await part()
                except Exception:  # the store or the disk is away: the next time
                    log.exception("upkeep could not be finished")
            await asyncio.sleep(_EVERY)

    async def tidy(self) -> None:
        """Remove half-removed and forgotten directories, and those of versions that are not ready.

        Versions from before there was a store are put into it.
        """
        await asyncio.to_thread(self._directories.sweep)
        for opaque_id in sorted(await asyncio.to_thread(self._directories.holders)):
            user = await self._database.read(users.named, opaque_id)
            if user is None:
                continue
            ready = await self._database.read(versions.ready, user.owner)
            for version in await asyncio.to_thread(self._directories.on_disk, opaque_id) & ready:
                await self._mirror(opaque_id, version)
            if await asyncio.to_thread(self._directories.published, opaque_id) <= ready:
                continue
            try:
                found = await self._database.write(remove_stranded, user.owner, self._directories)
            except NotFound:  # erased meanwhile, with all of its directories
                continue
            if found:  # else it was being published just then
                log.warning("removed directories of adapter versions of %s that are not ready: %s", opaque_id, found)

    async def _mirror(self, opaque_id: str, version: int) -> None:
        try:
            await asyncio.to_thread(self._directories.mirror, opaque_id, version)
        except (NotFound, Invalid) as error:
            log.warning("adapter version %d of %s is not in the store: %s", version, opaque_id, error.message)

    async def prune(self) -> None:
        """Delete finished jobs, and turns without standing feedback, that are older than they are to be kept."""
        now = time.time()
        while await self._database.write(jobs.prune, now - self._jobs_days * _DAY, _BATCH) == _BATCH:
            pass
        await self._database.write(idempotency.prune, now - self._jobs_days * _DAY)
        await self._database.write(tokens.prune, now)
        await self._database.write(limits.prune)
        await self._database.write(usage.prune, usage.today() - math.ceil(self._usage_days))
        if self._turns_days is None:
            return
        owners = await self._database.read(users.page, limit=_OWNERS)
        while owners:
            while await self._database.write(_prune_turns, owners, now - self._turns_days * _DAY):
                pass
            owners = await self._database.read(users.page, after=owners[-1], limit=_OWNERS)


def remove_stranded(c: Connection, owner: Owner, directories: Directories) -> list[int]:
    """Remove the directories of versions that are not ready; their numbers. Raises ``NotFound`` without the user.

    They are there because a publication or a deletion was killed half-way, or made elsewhere. In a writing
    transaction: the user's lock keeps publications away, which move a directory before they commit.
    """
    opaque_id = versions.lock_user(c, owner).opaque_id
    found = sorted(directories.published(opaque_id) - versions.ready(c, owner))
    for version in found:
        directories.remove(opaque_id, version)
    return found


def _prune_turns(c: Connection, owners: Sequence[Owner], before: float) -> bool:
    """Delete a batch; whether there may be more."""
    room = _BATCH
    for owner in owners:
        room -= turns.prune(c, owner, before, room)
        if not room:
            return True
    return False
