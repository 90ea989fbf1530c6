"""Erasing a user: the rows go at once and leave a tombstone; then every process drops what it holds of that user.

Whatever is killed meanwhile, the tombstone stays. Each process looks for new ones every other second, and from time to
time for folders and adapters that belong to old ones.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from sqlalchemy import Connection

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import user_of
from adapters.lifecycle import activation, cohorts
from adapters.lifecycle.activation import Erased, Policy
from adapters.ports import AdapterList
from adapters.registry.entries import StillAnswering
from adapters.registry.registry import Registry
from adapters.training.job import Training
from preference.recall.recall import Recall
from server.engine.pool import Registries
from store import erasures, limits, users
from store.database import Database
from store.errors import AttuneError, NotFound
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
Follow = Callable[[User], Coroutine[Any, Any, bool]]

PATIENCE = 30.0
"""Seconds an erasure waits for answers under way to this user: they end on the adapter that they began with."""
_POLL, _SWEEP, _SWEEP_AGAIN = 2.0, 600.0, 5.0
_A_DAY = 86_400.0


class Erasures:
    """Erases users, and lets go of what this process holds of users who were erased elsewhere.

    Memory, trainings, adapters in the engine and files go in this order: nothing makes anew what went before it. The
    last two are shared with the other processes, whose answers may need them: there they go when these must have ended.
    """

    def __init__(
        self,
        database: Database,
        *,
        recall: Recall,
        training: Training,
        registry: Registry | Registries,
        engine: AdapterList,
        directories: Directories,
        grace: float = 0.0,
    ) -> None:
        """``grace``: seconds for which other processes may go on answering an erased user; 0 where there are none."""
        self._database = database
        self._recall = recall
        self._training = training
        self._registry = registry
        self._engine = engine
        self._directories = directories
        self._grace = grace
        self._seen: set[str] = set()
        self._under_way: set[asyncio.Task[bool]] = set()
        self._to_scrub: bool | None = None  # not known before the first sweep
        self._scrubbing = asyncio.Lock()
        self._sweep_at = time.monotonic()

    async def erase(self, owner: Owner) -> bool:
        """Erase a user. False when something could not go yet: that goes later, by itself. Raises ``NotFound``."""
        gone = await self._database.write(_erase, owner)
        self._seen.update(gone)
        self._to_scrub = True
        return await self._finish(gone)

    async def erase_feedback(self, owner: Owner, id: str, policy: Policy, follow: Follow) -> tuple[Erased, bool]:
        """Erase feedback, and let serve what does without it. False when something goes later. Raises ``NotFound``."""
        erased = await self._database.write(activation.erase_feedback, owner, id, policy)
        opaque_id = erased.user.opaque_id
        if erased.stopped:
            await self._training.stop(opaque_id)
        for version in erased.stopped:
            await asyncio.to_thread(self._directories.clear_stage, opaque_id, version)
        complete = await self._within_patience(follow(erased.user))
        return erased, await self.scrub() and complete

    async def scrub(self) -> bool:
        """Take rows that were deleted out of the store's files; False when that goes later, by itself."""
        self._to_scrub = True
        if not await self._scrub():
            self._sweep_soon()
            return False
        return True

    async def run(self) -> None:
        """Notice what was erased elsewhere, and finish what was interrupted, until cancelled."""
        while True:
            try:
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + _SWEEP
                    if not await self._sweep():
                        self._sweep_soon()
                await self._watch()
            except Exception:
                log.exception("erased users could not be looked for")
            await asyncio.sleep(_POLL)

    async def close(self) -> None:
        """End what is under way; the next start goes on with it."""
        for task in (held := list(self._under_way)):
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    async def _watch(self) -> None:
        recent = await self._database.read(erasures.since, time.time() - _SWEEP - self._grace)
        new = [opaque_id for opaque_id in recent if opaque_id not in self._seen]
        self._seen = set(recent)
        if new:
            await self._finish(new)

    async def _sweep(self) -> bool:
        """Drop what is left of erased users; whether nothing is."""
        if self._to_scrub is None:
            self._to_scrub = bool(await self._database.read(erasures.since, time.time() - _A_DAY))
        named, complete = await self._named()
        # The recent ones again: a request that was under way may have put something into memory since.
        return await self._finish(await self._database.read(erasures.among, named) | self._seen) and complete

    async def _finish(self, opaque_ids: Collection[str]) -> bool:
        """Drop what is held of these users; False when something is left, or takes longer than our patience."""
        if await self._within_patience(self._drop_all(opaque_ids)):
            return True
        self._sweep_soon()
        return False

    async def _within_patience(self, work: Coroutine[Any, Any, bool]) -> bool:
        """What ``work`` gives; False where it fails, or takes longer than our patience: then it goes on by itself."""
        task = asyncio.create_task(_logged(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait((task,), timeout=PATIENCE)
        return bool(done) and task.result()

    def _sweep_soon(self) -> None:
        self._sweep_at = min(self._sweep_at, time.monotonic() + _SWEEP_AGAIN)

    async def _drop_all(self, opaque_ids: Collection[str]) -> bool:
        await asyncio.gather(*(self._drop_own(opaque_id) for opaque_id in opaque_ids))
        young, named, complete = set[str](), set[str](), True
        if self._grace:
            young = set(await self._database.read(erasures.since, time.time() - self._grace)).intersection(opaque_ids)
        if young:
            named, complete = await self._named()
        dropped = await asyncio.gather(*(self._drop_shared(opaque_id) for opaque_id in {*opaque_ids} - young))
        return await self._scrub() and all(dropped) and complete and not young & named

    async def _drop_own(self, opaque_id: str) -> None:
        """What no other process has a part in."""
        self._recall.forget(opaque_id)
        await self._training.stop(opaque_id)

    async def _drop_shared(self, opaque_id: str) -> bool:
        complete = True
        try:  # before all else: an engine that is told to forget brings nothing back
            await asyncio.to_thread(self._directories.bury, opaque_id)
        except AttuneError as error:
            log.warning("an erased user's tombstone is not in the store yet: %s", error.message)
            complete = False
        try:
            await self._registry.forget(opaque_id)
        except StillAnswering as error:
            log.warning("files of an erased user stay for now: %s", error.message)
            return False
        except AttuneError as error:
            log.warning("adapters of an erased user may be in the engine still: %s", error.message)
            complete = False
        try:
            await asyncio.to_thread(self._directories.remove_all, opaque_id)
        except (OSError, AttuneError) as error:
            reason = error.message if isinstance(error, AttuneError) else error.strerror
            log.warning("files of an erased user could not be removed yet: %s", reason)
            complete = False
        return complete

    async def _named(self) -> tuple[set[str], bool]:
        """The opaque ids of all who have files, or adapters in the engine; and whether store and engine told."""
        named, complete = set[str](), True
        for told in (asyncio.to_thread(self._directories.holders), self._engine.loaded()):
            try:
                named |= {user_of(name) for name in await told}
            except AttuneError:
                complete = False
        return named, complete

    async def _scrub(self) -> bool:
        """Take erased rows out of the store's files, once for all who wait for it."""
        async with self._scrubbing:
            if self._to_scrub:
                self._to_scrub = False
                try:
                    self._to_scrub = not await self._database.scrub()
                except BaseException:
                    self._to_scrub = True
                    raise
            return not self._to_scrub


async def _logged(work: Coroutine[Any, Any, bool]) -> bool:
    try:
        return await work
    except AttuneError as error:
        log.warning("what was erased is not all gone yet: %s", error.message)
    except Exception:
        log.exception("what was erased is not all gone yet")
    return False


def _erase(c: Connection, owner: Owner) -> list[str]:
    """Delete the user; the opaque id, and those of the cohorts that learned from them."""
    user = users.get(c, owner) if users.lock(c, owner) else None
    if user is None:
        raise NotFound("Nothing is held about this user.", param="user")
    cohorts_gone = cohorts.leave(c, owner)
    limits.forget(c, owner)
    users.delete(c, owner)
    return [user.opaque_id, *cohorts_gone]
