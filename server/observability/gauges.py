"""What is looked up when somebody reads the metrics: the queue, the adapters, the engine, the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Connection

from adapters.lifecycle import versions
from server.engine.pool import Registries
from store import job_list
from store.database import Database
from store.errors import AttuneError
from store.job_list import Backlog

ENGINE_STATES = ("loading", "ready", "restarting", "failed", "stopped", "unreachable")
COUNT_LIMIT = 50_000
"""Rows that one figure counts at most."""
_STORE_SECONDS, _FRESH_SECONDS = 3.0, 5.0


class Gauges:
    """Figures that are true for ``_FRESH_SECONDS``; however many ask, the rows are counted once in that time."""

    def __init__(
        self,
        registry: CollectorRegistry,
        database: Database,
        adapters: Registries,
        engine_state: Callable[[], Awaitable[str]],
        *,
        common_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._engine_state = engine_state
        self._common_up = common_up
        self._fresh_until = 0.0
        self._lock = asyncio.Lock()

        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, registry=registry)

        counted = f"at most {COUNT_LIMIT} are counted"
        self._jobs = gauge("attune_jobs", f"Jobs that wait, run or failed for good; {counted}.", "kind", "state")
        self._oldest = gauge("attune_job_oldest_age_seconds", "Age of the oldest job that waits.", "kind")
        self._versions = gauge("attune_adapter_versions", f"Adapter versions; {counted}.", "state")
        self._active = gauge("attune_adapter_versions_active", "Adapter versions that their users are set to.")
        self._loaded = gauge("attune_adapters_loaded", "Adapters in the engine.")
        self._serving = gauge("attune_adapters_serving", "Users whom an adapter serves now.")
        self._engine = gauge("attune_engine_state", "1 for the state that the engine is in.", "state")
        self._store = gauge("attune_store_up", "1 when the database answers.")
        self._common = gauge("attune_shared_limits_up", "0 while this server counts limits alone.")

    async def refresh(self) -> None:
        """Look everything up, unless that was done just now."""
        async with self._lock:
            if time.monotonic() < self._fresh_until:
                return
            state, _ = await asyncio.gather(self._engine_state(), self._read_store())
            for known in ENGINE_STATES:
                self._engine.labels(known).set(known == state)
            self._common.set(self._common_up())
            self._loaded.set(self._adapters.loaded)
            self._serving.set(self._adapters.serving)
            self._fresh_until = time.monotonic() + _FRESH_SECONDS

    async def _read_store(self) -> None:
        # A figure that the database cannot tell now is not shown: an old one would look like a true one.
        for of_rows in (self._jobs, self._oldest, self._versions):
            of_rows.clear()
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                backlog, (by_state, active) = await self._database.read(_count)
        except (AttuneError, TimeoutError):
            self._store.set(0)
            self._active.set(float("nan"))
            return
        self._store.set(1)
        for (kind, state), count in backlog.counts.items():
            self._jobs.labels(kind, state).set(count)
        for kind, created_at in backlog.oldest.items():
            self._oldest.labels(kind).set(max(0.0, time.time() - created_at))
        for state, count in by_state.items():
            self._versions.labels(state).set(count)
        self._active.set(active)


def _count(c: Connection) -> tuple[Backlog, tuple[dict[str, int], int]]:
    return job_list.backlog(c, COUNT_LIMIT), versions.census(c, COUNT_LIMIT)
