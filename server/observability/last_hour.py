"""The last hour of this server: queue, places and requests, a sample a minute, kept in memory alone."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from server.engine.pool import Registries
from server.observability.gauges import COUNT_LIMIT
from store import job_list
from store.database import Database
from store.errors import AttuneError

log = logging.getLogger(__name__)
KEPT = 61
_IN_FLIGHT = "attune_http_requests_in_flight"


@dataclass(frozen=True)
class Sample:
    """Figures of one moment. ``queued`` and ``running`` are jobs of all servers, the others this server's own."""

    at: float
    queued: int
    running: int
    failed: int
    loaded: int
    serving: int
    in_flight: int


class LastHour:
    """The newest ``KEPT`` samples, oldest first."""

    def __init__(
        self, database: Database, adapters: Registries, registry: CollectorRegistry, *, seconds: float = 60.0
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._registry = registry
        self._seconds = seconds
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    @property
    def samples(self) -> list[Sample]:
        """What was kept, oldest first."""
        return list(self._samples)

    async def now(self) -> Sample:
        """A sample of this moment, which is not kept. Raises ``StoreUnavailable``."""
        backlog = await self._database.read(job_list.backlog, COUNT_LIMIT)

        def count(state: str) -> int:
            return sum(number for (_, stands), number in backlog.counts.items() if stands == state)

        in_flight = int(self._registry.get_sample_value(_IN_FLIGHT) or 0)
        states = (count("queued"), count("running"), count("failed"))
        return Sample(time.time(), *states, self._adapters.loaded, self._adapters.serving, in_flight)

    async def run(self) -> None:
        """Keep a sample a minute, for as long as the server lives; what the store cannot tell is left out."""
        while True:
            try:
                self._samples.append(await self.now())
            except AttuneError as error:
                log.debug("no sample: %s", error)
            await asyncio.sleep(self._seconds)
