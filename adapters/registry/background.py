"""Work on adapters that no request waits for: activations that one asked for, and unloads."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from cachetools import FIFOCache

from adapters.lifecycle.versions import ServedVersions, Version
from store.errors import AttuneError
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
Activate = Callable[[User, Version | None, Version | None], Awaitable[None]]
_QUEUE = 16
"""How many may wait for their adapters to be loaded, where there are fewer slots."""
_REMEMBERED = 4096
"""How many failed activations are remembered; the oldest go first."""


class Background:
    """Tasks of one event loop. ``activate`` is ``Registry.activate``; for the other arguments see ``Registry``."""

    def __init__(
        self,
        activate: Activate,
        *,
        version_of: Callable[[User], Awaitable[ServedVersions]],
        capacity: int,
        retry_seconds: float,
    ) -> None:
        self._activate = activate
        self._version_of = version_of
        self._capacity = capacity
        self._retry_seconds = retry_seconds
        self._activating: set[Owner] = set()
        self._not_before: FIFOCache[Owner, float] = FIFOCache(_REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()

    def activate_later(self, user: User) -> None:
        """Activate what the rows say, unless that is under way or has failed just now, or too many wait."""
        if user.owner in self._activating or time.monotonic() < self._not_before.get(user.owner, 0.0):
            return
        if len(self._activating) >= max(self._capacity, _QUEUE):
            return  # more than fit: the first would be pushed out before the last is loaded
        self._activating.add(user.owner)
        self.start(self._activate_from_rows(user))

    def clear_backoff(self, owner: Owner) -> None:
        """Let the user's activation be tried again at once, whatever failed."""
        self._not_before.pop(owner, None)

    def clear_backoffs(self) -> None:
        """Let everybody's be tried again at once."""
        self._not_before.clear()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` in a task; an error is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """End the tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _activate_from_rows(self, user: User) -> None:
        """Activate what the rows say. Where that fails, or ``user`` was stale, not again for a few seconds."""
        settled = False
        try:
            version, canary = await self._version_of(user)
            await self._activate(user, version, canary)
            serve = tuple(one.version if one else 0 for one in (version, canary))
            settled = serve == (user.active_adapter, user.canary_adapter)
        except AttuneError as error:
            log.warning("the adapter of %s is not active yet: %s", user.opaque_id, error.message)
        finally:
            self._activating.discard(user.owner)
            if not settled:
                self._not_before[user.owner] = time.monotonic() + self._retry_seconds

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work on adapters failed", exc_info=error)
