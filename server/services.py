"""The composition root: what runs, made once and closed in order. `storage.py` opens what is kept."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from adapters.allowance import Allowance
from adapters.canary import Canaries
from adapters.cohort_training import Cohorts
from adapters.directories import Directories
from adapters.disk_cache import DiskCache
from adapters.registry import Registry
from adapters.together import Together
from adapters.trainer_process import RunTrainer
from adapters.training import Training
from preference.database import Database
from preference.embedder import SentenceEmbedder
from preference.learning import Learner
from preference.ports import Embedder
from preference.recall import Recall, RecallLimits
from preference.users import User
from preference.worker import Worker
from server.answer import Assistant
from server.base_hash import BaseHash
from server.engine import Engine
from server.engine_process import EngineProcess, command, environment, on_cpu
from server.engines import Engines, Place, Registries
from server.erasure import Erasures
from server.gauges import Gauges
from server.identity import Identity
from server.metrics import Metrics
from server.rollout import roll_out, serving
from server.settings import Settings
from server.storage import check_embedder, open_database, open_directories, private_directory, server_secret
from server.tracing import Tracing, tracing
from server.upkeep import Upkeep
from server.workers import make_workers

log = logging.getLogger(__name__)

_LATE = 60.0  # clocks differ between machines, and a request may have read its user just before the erasure


@dataclass(frozen=True)
class Services:
    """What routes and commands work with. Without ``workers`` or ``engine_process``, others run them."""

    settings: Settings
    database: Database
    embedder: Embedder
    engine: Engines
    engine_process: EngineProcess | None
    recall: Recall
    registry: Registries
    directories: Directories
    training: Training
    erasures: Erasures
    identity: Identity
    assistant: Assistant
    workers: tuple[Worker, ...]
    tasks: tuple[asyncio.Task[None], ...]
    metrics: Metrics
    gauges: Gauges
    tracing: Tracing
    follow: Callable[[User], Coroutine[Any, Any, bool]]
    """Serve a user as the rows say; False where that is not complete yet, and goes on by itself."""

    def cut(self) -> None:
        """The time to finish is over: workers give their jobs back, then answers under way are ended."""
        for task in self.tasks:
            if task.get_name() == "worker":
                task.cancel()
        self.engine.cut()

    def wake_worker(self) -> None:
        """Say that a job was queued."""
        for worker in self.workers:
            worker.wake()


def _ignore(reason: str) -> None:
    """The default of ``on_fatal``."""


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    work: bool | None = None,
    serve: bool = True,
    embedder: Embedder | None = None,
    run_trainer: RunTrainer | None = None,
    lease_seconds: float = 60.0,
    max_attempts: int = 5,
    on_fatal: Callable[[str], None] = _ignore,
) -> AsyncIterator[Services]:
    """Everything that runs, made in order and closed in reverse. Raises ``StartRefused`` in one sentence.

    ``work`` overrides ``worker_in_process``; with ``serve=False`` nobody will be let in, and no API key is asked
    for. ``run_trainer`` takes the place of the trainers' programs. ``lease_seconds`` and ``max_attempts`` are the
    workers'. ``on_fatal`` is told, once, when the engine cannot start at all.
    """
    settings.check()
    private_directory(settings.data_dir)
    async with AsyncExitStack() as stack:
        traces = tracing(settings)
        stack.push_async_callback(traces.close)
        metrics = Metrics(traces)
        database = await asyncio.to_thread(open_database, settings)
        stack.callback(database.close)
        identity = Identity(database, loopback=settings.loopback)
        if serve and await identity.start():
            log.warning("No API key exists: anybody on this machine may ask, as tenant 'local'")
        places: list[Place] = []

        def engine_restarted() -> None:
            metrics.engine_restarted()
            for place in places:
                place.registry.reset()

        directories = open_directories(settings)
        private_directory(directories.root)
        hosts, process = _engines(settings, engine_restarted, traces)
        for host in hosts.values():
            stack.push_async_callback(host.close)
        tasks: list[asyncio.Task[None]] = []
        if process is not None:
            tasks.append(_run(stack, _supervise(process, on_fatal), "engine"))
        if embedder is None:  # read from disk while the engine starts
            embedder = await asyncio.to_thread(SentenceEmbedder, settings.embedder)
        await check_embedder(database, embedder)
        base_hash = BaseHash(settings)
        for name, host in hosts.items():
            held = Registry(
                host,
                directories,
                capacity=settings.adapter_places,
                version_of=lambda user: serving(database, user),
                base_sha256=base_hash,
                pinned=lambda owner: owner.user in settings.pinned_users.get(owner.tenant, ()),
                drain_seconds=settings.engine_read_timeout,
                on_swap=metrics.swapped,
            )
            stack.push_async_callback(held.close)
            places.append(Place(name, host, held))
        engine = Engines(places)
        stack.push_async_callback(engine.close)
        registry = Registries(engine)
        limits = RecallLimits(alike=settings.recall_min_score, budget=settings.preference_token_budget)
        recall = Recall(database, embedder, limits, on_recall=metrics.recalled)
        allowance = Allowance(settings.train_hours, settings.train_seconds_per_hour)
        together = (
            Together(at_once=settings.train_at_once, allowance=allowance)
            if run_trainer is None
            else Together(alone=run_trainer, many=None, allowance=allowance)
        )
        policy = settings.policy

        async def follow(user: User) -> bool:
            # The serving adapters are the server's to load and unload; apart from it, the row alone tells it.
            return await roll_out(database, registry, directories, user) if serve else False

        cohorts = Cohorts(
            database,
            directories,
            embedder,
            tenants=settings.cohort_tenants,
            base_model=settings.training_base,
            recipe=settings.recipe,
            run_trainer=together,
            ready=together.ready,
            system_role=settings.system_role,
        )
        training = Training(
            database,
            places[0].engine,  # a gate loads, asks and unloads one and the same
            directories,
            base_model=settings.training_base,
            recipe=settings.recipe,
            objectives=settings.tenant_objectives,
            system_role=settings.system_role,
            run_trainer=together,
            beginning=cohorts.beginning,
            follow=follow,
            policy=policy,
            commit=settings.commit,
        )
        learner = Learner(
            database,
            engine,
            embedder,
            max_preferences=settings.max_preferences,
            system_role=settings.system_role,
            on_tokens=metrics.studied,
        )
        erasures = Erasures(
            database,
            recall=recall,
            training=training,
            registry=registry,
            engine=engine,
            directories=directories,
            grace=_grace(settings, database, serve=serve),
        )
        stack.push_async_callback(erasures.close)
        tasks.append(_run(stack, erasures.run(), "erasures"))
        workers: tuple[Worker, ...] = ()
        working = settings.worker_in_process if work is None else work
        if settings.adapter_store:
            cache = DiskCache(directories, engine, settings.adapter_cache_bytes)
            tasks.append(_run(stack, cache.run(), "disk cache"))
        if working or settings.adapter_store:  # what is deleted elsewhere lies on this disk still
            upkeep = Upkeep(
                database,
                directories,
                jobs_days=settings.retain_jobs_days,
                turns_days=settings.retain_turns_days,
            )
            tasks.append(_run(stack, upkeep.run(), "upkeep"))
        if working:
            pace = {"lease_seconds": lease_seconds, "max_attempts": max_attempts}
            canaries = Canaries(database, policy, follow)
            workers = make_workers(
                database, learner, canaries, training, together, metrics, settings.learn_concurrency, pace
            )
            tasks.extend(_run(stack, worker.run(), "worker") for worker in workers)
            if settings.cohort_tenants:
                tasks.append(_run(stack, cohorts.run(), "cohorts"))
        secret = await asyncio.to_thread(server_secret, settings.data_dir)
        yield Services(
            settings=settings,
            database=database,
            embedder=embedder,
            engine=engine,
            engine_process=process,
            recall=recall,
            registry=registry,
            directories=directories,
            training=training,
            erasures=erasures,
            identity=identity,
            assistant=Assistant(settings, database, engine, recall, secret, metrics),
            workers=workers,
            tasks=tuple(tasks),
            metrics=metrics,
            gauges=Gauges(metrics.registry, database, registry, lambda: engine_state(engine, process)),
            tracing=traces,
            follow=follow,
        )


async def engine_state(engine: Engines, process: EngineProcess | None) -> str:
    """``ready``, ``unreachable``, or what our own engine's process is doing instead."""
    if process is not None and process.state != "ready":
        return process.state
    return "ready" if await engine.ready() else "unreachable"


def _engines(
    settings: Settings, on_restart: Callable[[], None], traces: Tracing
) -> tuple[dict[str, Engine], EngineProcess | None]:
    """Those of the settings, by URL, or one of our own with its process."""
    key = settings.engine_api_key.get_secret_value() if settings.engine_api_key else None
    if settings.engine_urls:
        remote = {
            url: Engine(
                url,
                base_model=settings.model_name,
                api_key=key,
                read_timeout=settings.engine_read_timeout,
                trace_headers=traces.headers,
            )
            for url in settings.engine_urls
        }
        return remote, None
    if settings.bundled:
        log.warning("ATTUNE_MODEL is not set: serving the bundled model as %r", settings.model_name)
    if shutil.which("nvidia-smi") and on_cpu():
        log.warning("there is a GPU here, but vLLM's CPU build is installed")
    folder = EngineProcess.private_folder()
    socket = folder / "vllm.sock"
    engine = Engine(
        "http://engine",
        socket=socket,
        base_model=settings.model_name,
        read_timeout=settings.engine_read_timeout,
        trace_headers=traces.headers,
    )
    process = EngineProcess(
        command(settings, socket),
        environment=environment(settings, folder),
        folder=folder,
        log_file=settings.data_dir / "logs" / "vllm.log",
        probe=engine.ready,
        on_restart=on_restart,
        start_timeout=settings.engine_start_timeout,
    )
    return {"own": engine}, process


def _grace(settings: Settings, database: Database, *, serve: bool) -> float:
    """How long other processes may be answering a user who is erased; 0 where this is the only one that answers."""
    alone = serve and (settings.engine_url is None or database.url.get_backend_name() == "sqlite")
    return 0.0 if alone else settings.engine_read_timeout + _LATE


async def _supervise(process: EngineProcess, on_fatal: Callable[[str], None]) -> None:
    await process.supervise()
    on_fatal(process.reason or "The engine stopped.")


def _run(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        if not task.cancelling():  # a second time would interrupt what it does to end in order
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s stopped", name, exc_info=error)

    task.add_done_callback(ended)
    stack.push_async_callback(end)
    return task
