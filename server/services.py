"""What runs, for those that work with it; `composition.py` makes it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from adapters.artifacts.directories import Directories
from adapters.training.job import Training
from preference.ports import Embedder, Kinds
from preference.recall.recall import Recall
from server.admission.identity import Identity
from server.admission.ledger import Ledger
from server.admission.limits import Limits, Rate
from server.admission.storage_quota import Quota
from server.answering.answer import Assistant
from server.data.erasure import Erasures
from server.engine.pool import Engines, Registries
from server.engine.supervisor import EngineSupervisor
from server.observability.gauges import Gauges
from server.observability.last_hour import LastHour
from server.observability.metrics import Metrics
from server.observability.tracing import Tracing
from server.settings import Settings
from store.database import Database
from store.users import User
from store.worker import Worker


@dataclass(frozen=True)
class Services:
    """What routes and commands work with. Without ``workers`` or ``engine_process``, others run them."""

    settings: Settings
    system_role: bool
    """Whether the served model's chat template has one."""
    database: Database
    embedder: Kinds
    """By kind of task: what preferences are found by."""
    sentences: Embedder
    """By meaning: what callers may use, too."""
    engine: Engines
    engine_process: EngineSupervisor | None
    recall: Recall
    registry: Registries
    directories: Directories
    training: Training
    erasures: Erasures
    identity: Identity
    assistant: Assistant
    quota: Quota
    limits: Limits
    ledger: Ledger
    workers: tuple[Worker, ...]
    tasks: tuple[asyncio.Task[None], ...]
    metrics: Metrics
    gauges: Gauges
    last_hour: LastHour
    tracing: Tracing
    signal_rate: Rate
    """Of signals and outcomes, by API key."""
    follow: Callable[[User], Coroutine[Any, Any, bool]]
    """Serve a user as the rows say; False where that is not complete yet, and goes on by itself."""

    def cut(self) -> None:
        """The time to finish is over: workers give their jobs back, then answers under way are ended."""
        for task in self.tasks:
            if task.get_name() == "worker":
                task.cancel()
        self.engine.cut()

    async def until_idle(self) -> None:
        """Wait until no worker has anything to do."""
        for worker in self.workers * 2:  # what one has done may be work for another
            await worker.until_idle()

    def wake_worker(self) -> None:
        """Say that a job was queued."""
        for worker in self.workers:
            worker.wake()


async def engine_state(engine: Engines, process: EngineSupervisor | None) -> str:
    """``ready``, ``unreachable``, or what our own engine's process is doing instead."""
    if process is not None and process.state != "ready":
        return process.state
    return "ready" if await engine.ready() else "unreachable"
