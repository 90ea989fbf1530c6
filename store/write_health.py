"""Whether writes go through: noticed where one fails, and tried again now and then until one does.

So a full disk, or a lock that nobody lets go, is known before work is done whose result could not be kept.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from store.errors import AttuneError

log = logging.getLogger(__name__)
QUIET_SECONDS = 2.0
_LOG_SECONDS = 60.0
"""How often it is logged that writes fail, at most."""


class StoreUnavailable(AttuneError):
    """The database cannot be reached, or stayed locked; the same call may succeed later.

    As a string it tells operators why: the driver names hosts, ports and files. Its ``message`` is for callers.
    """

    code = "store_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.message = "The database is not available; try again shortly."


class WriteHealth:
    """``probe`` writes something small. It is called where nothing else has written for ``QUIET_SECONDS``."""

    def __init__(self, probe: Callable[[], Awaitable[None]]) -> None:
        self._probe = probe
        self._failure: StoreUnavailable | None = None
        self._logged = float("-inf")
        self._told = False
        self._written = float("-inf")
        self._tried = float("-inf")
        self._trying: asyncio.Future[None] | None = None

    def failed(self, error: StoreUnavailable, began: float) -> None:
        """A write that ``began`` then, by the monotonic clock, has failed for want of the store.

        It says nothing where another went through meanwhile: what waits longest for a lock fails last.
        """
        if self._written > began:
            return
        self._failure, self._written = error, float("-inf")
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged, self._told = time.monotonic(), True
            log.error("the database takes no writes, so what would be stored is refused: %s", error.message)

    def succeeded(self) -> None:
        """A write went through."""
        self._written = time.monotonic()
        self._failure = None
        if self._told:
            self._told = False
            log.warning("the database takes writes again")

    async def check(self) -> None:
        """Raise ``StoreUnavailable`` while writes fail; costs nothing while they do not."""
        if self._failure is not None:
            await self.confirm()

    async def confirm(self) -> None:
        """The same, but sure of it: writes something where nothing was written lately."""
        if self._failure is None and time.monotonic() - self._written < QUIET_SECONDS:
            return
        if time.monotonic() - self._tried >= QUIET_SECONDS or self._trying is not None:
            if self._trying is None:
                self._tried = time.monotonic()
                self._trying = asyncio.ensure_future(self._try())
            await asyncio.shield(self._trying)
        if self._failure is not None:
            raise StoreUnavailable(str(self._failure))

    async def _try(self) -> None:
        began = time.monotonic()
        try:
            await self._probe()
            self.succeeded()
        except StoreUnavailable as error:
            self.failed(error, began)
        finally:
            self._trying = None
