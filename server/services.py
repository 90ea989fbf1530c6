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
from adapters.disk_cache import DiskCache, NoReaders
from adapters.on_ray import Cluster, OnRay
from adapters.registry import Registry
from adapters.together import Together
from adapters.trainer_process import RunTrainer
from adapters.training import Training
from preference import keys, shared_secret
from preference.database import Database
from preference.embedder import SentenceEmbedder
from preference.errors import AttuneError, Invalid
from preference.feedback import Feedback
from preference.kind import KindEmbedder
from preference.learning.learner import Learner
from preference.learning.prompt_file import NAME, PromptFile
from preference.owner import Owner
from preference.ports import Embedder, Kinds
from preference.prior import Prior
from preference.recall import Recall, RecallLimits
from preference.users import User
from preference.worker import Worker
from server import reembedding
from server.answer import Assistant
from server.base_hash import BaseHash
from server.endpoints import Endpoints
from server.engine import Engine
from server.engine_process import EngineProcess, command, environment, on_cpu
from server.engines import Engines, Place, Registries
from server.erasure import Erasures
from server.errors import StartRefused
from server.gauges import Gauges
from server.history import Histories
from server.identity import Identity
from server.last_hour import LastHour
from server.learner_model import LearnerModel
from server.ledger import Ledger
from server.limits import Limits, Rate
from server.metrics import Metrics
from server.quota import Quota
from server.rollout import roll_out, serving
from server.router import Router
from server.settings import Settings, Work
from server.storage import check_embedder, open_count, open_database, open_directories, private_directory, server_secret
from server.system_role import has_system_role
from server.tracing import Tracing, tracing
from server.upkeep import Upkeep
from server.workers import make_workers

log = logging.getLogger(__name__)

_SEATS_BEHIND_A_ROUTER = 1 << 16
"""Of how many users a server knows what serves them: the engines make room by themselves."""
_LATE = 60.0  # clocks differ between machines, and a request may have read its user just before the erasure


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
    engine_process: EngineProcess | None
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


def _ignore(reason: str) -> None:
    """The default of ``on_fatal``."""


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    work: bool | None = None,
    only: Work | None = None,
    serve: bool = True,
    embedder: Kinds | None = None,
    run_trainer: RunTrainer | None = None,
    lease_seconds: float = 60.0,
    max_attempts: int = 5,
    on_fatal: Callable[[str], None] = _ignore,
) -> AsyncIterator[Services]:
    """Everything that runs, made in order and closed in reverse. Raises ``StartRefused`` in one sentence.

    ``work`` overrides ``worker_in_process``, and ``only`` leaves one kind of work to it. With ``serve=False`` nobody
    will be let in, and no API key is asked for. ``run_trainer`` takes the place of the trainers' programs.
    ``lease_seconds`` and ``max_attempts`` are the workers'. ``on_fatal`` is told, once, when the engine cannot start
    at all.
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
        own_secret = await asyncio.to_thread(server_secret, settings.data_dir)
        secret = await database.write(shared_secret.agree, own_secret)
        if secret != own_secret:
            log.info("the secret of the database's other servers is used, not that of %s", settings.data_dir)
        hosts, process = _engines(settings, engine_restarted, traces, secret)
        for host in hosts.values():
            stack.push_async_callback(host.close)
        tasks: list[asyncio.Task[None]] = []
        if process is not None:
            tasks.append(_run(stack, _supervise(process, on_fatal), "engine"))
        sentences: Embedder
        if embedder is not None:
            sentences = kinds = embedder
        else:  # read from disk while the engine starts
            sentences = encoder = await asyncio.to_thread(SentenceEmbedder, settings.embedder)
            kinds = await asyncio.to_thread(KindEmbedder, encoder)
        if settings.reembed:
            tasks.append(_run(stack, reembedding.run(database, kinds), "reembedding"))
        else:
            await check_embedder(database, kinds)
        system_role = await asyncio.to_thread(has_system_role, settings)
        base_hash = BaseHash(settings)
        for host in hosts.values():
            if isinstance(host, Router):
                await _check_router(host, base_hash)

        async def places_of_tenant() -> int:
            return settings.places_of_tenant(several=await database.read(keys.several_tenants))

        for name, host in hosts.items():
            held = Registry(
                host,
                directories,
                capacity=_SEATS_BEHIND_A_ROUTER if settings.engine_router else settings.adapter_places,
                of_tenant=None if settings.engine_router else places_of_tenant,
                version_of=lambda user: serving(database, user),
                base_sha256=base_hash,
                pinned=lambda owner: owner.user in settings.pinned_users.get(owner.tenant, ()),
                drain_seconds=settings.engine_read_timeout,
                on_swap=metrics.swapped,
                resolves=settings.engine_router,
            )
            stack.push_async_callback(held.close)
            places.append(Place(name, host, held))
        engine = Engines(places)
        stack.push_async_callback(engine.close)
        registry = Registries(engine)
        recalling = RecallLimits(alike=settings.recall_min_score, budget=settings.preference_token_budget)
        recall = Recall(database, kinds, recalling, on_recall=metrics.recalled)
        prior = Prior(database, kinds, recall, settings.prior_tenants)
        allowance = Allowance(settings.train_hours, settings.train_seconds_per_hour)
        if run_trainer is not None:
            together = Together(alone=run_trainer, many=None, allowance=allowance)
        elif settings.train_on is not None:
            cluster = _cluster(settings.train_on)
            stack.push_async_callback(cluster.close)
            together = Together(
                alone=cluster.alone, many=cluster.many, at_once=settings.train_at_once, allowance=allowance
            )
        else:
            together = Together(at_once=settings.train_at_once, allowance=allowance)
        policy = settings.policy

        async def follow(user: User) -> bool:
            # The serving adapters are the server's to load and unload; apart from it, the row alone tells it.
            return await roll_out(database, registry, directories, user) if serve else False

        cohorts = Cohorts(
            database,
            directories,
            sentences,
            tenants=settings.cohort_tenants,
            base_model=settings.training_base,
            recipe=settings.recipe,
            run_trainer=together,
            ready=together.ready,
            system_role=system_role,
        )
        training = Training(
            database,
            places[0].engine,  # a gate loads, asks and unloads one and the same
            directories,
            base_model=settings.training_base,
            recipe=settings.recipe,
            objectives=settings.tenant_objectives,
            system_role=system_role,
            run_trainer=together,
            beginning=cohorts.beginning,
            follow=follow,
            policy=policy,
            commit=settings.commit,
        )
        proposing = None
        if settings.learner_url is not None:
            key = settings.learner_api_key
            proposing = LearnerModel(
                settings.learner_url,
                settings.learner_model or "",
                key.get_secret_value() if key else None,
                settings.engine_read_timeout,
            )
            stack.push_async_callback(proposing.close)
        learner = Learner(
            database,
            engine,
            kinds,
            scorer=engine,
            limits=recalling,
            k=settings.recall_k,
            prompts=learner_prompts(settings),
            proposing=proposing,
            max_preferences=settings.max_preferences,
            system_role=system_role,
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
            readers = NoReaders() if settings.engine_router else engine
            cache = DiskCache(directories, readers, settings.adapter_cache_bytes)
            tasks.append(_run(stack, cache.run(), "disk cache"))
        if working or settings.adapter_store:  # what is deleted elsewhere lies on this disk still
            upkeep = Upkeep(
                database,
                directories,
                jobs_days=settings.retain_jobs_days,
                turns_days=settings.retain_turns_days,
                usage_days=settings.retain_usage_days,
            )
            tasks.append(_run(stack, upkeep.run(), "upkeep"))
        if working:
            pace = {"lease_seconds": lease_seconds, "max_attempts": max_attempts}
            canaries = Canaries(database, policy, follow)
            workers = make_workers(
                database=database, learner=learner, canaries=canaries, training=training, together=together,
                metrics=metrics, learn_concurrency=settings.learn_concurrency, pace=pace, only=only,
            )  # fmt: skip
            tasks.extend(_run(stack, worker.run(), "worker") for worker in workers)
            if settings.cohort_tenants:
                tasks.append(_run(stack, cohorts.run(), "cohorts"))
        last_hour = LastHour(database, registry, metrics.registry)
        if serve:
            tasks.append(_run(stack, last_hour.run(), "last hour"))
        histories = None
        if settings.history_days:

            def given(owner: Owner, held: Feedback) -> None:
                metrics.accepted(owner.tenant, held.type, held.cost)
                for worker in workers if held.status == "pending" else ():
                    worker.wake()

            min_edits = settings.adapter_min_edits
            histories = Histories(database, kinds, days=settings.history_days, min_edits=min_edits, on_given=given)
            tasks.append(_run(stack, histories.run(), "histories"))
        quota = Quota(database, settings.bytes_per_tenant)
        counting = open_count(settings)
        limiting = Limits(
            of_key=settings.limit_of_key,
            of_user=settings.limit_of_user,
            total=settings.in_flight_total,
            of_tenant=settings.in_flight_of_tenant,
            database=counting,
            shared=settings.shared_limits,
            on_refused=metrics.refused,
        )
        stack.push_async_callback(limiting.close)
        tasks.append(_run(stack, limiting.run(), "limits"))
        ledger = Ledger(database, metrics.spent)
        stack.push_async_callback(ledger.write)
        tasks.append(_run(stack, ledger.run(), "ledger"))
        assistant = Assistant(
            settings=settings, database=database, engines=engine, recall=recall, secret=secret, metrics=metrics,
            quota=quota, limits=limiting, ledger=ledger, system_role=system_role, prior=prior,
            on_turn=histories.notice if histories else None,
        )  # fmt: skip
        yield Services(
            settings=settings,
            system_role=system_role,
            database=database,
            embedder=kinds,
            sentences=sentences,
            engine=engine,
            engine_process=process,
            recall=recall,
            registry=registry,
            directories=directories,
            training=training,
            erasures=erasures,
            identity=identity,
            assistant=assistant,
            quota=quota,
            limits=limiting,
            ledger=ledger,
            workers=workers,
            tasks=tuple(tasks),
            metrics=metrics,
            last_hour=last_hour,
            gauges=Gauges(
                metrics.registry,
                database,
                registry,
                lambda: engine_state(engine, process),
                common_up=lambda: limiting.common_up,
            ),
            tracing=traces,
            signal_rate=Rate(settings.signals_per_minute, "signals"),
            follow=follow,
        )


def learner_prompts(settings: Settings) -> PromptFile:
    """How edits are asked about: by the file set, by the one in the model's folder, or as models are in general."""
    if settings.learner_prompt is not None:
        return PromptFile.load(settings.learner_prompt)
    folder = settings.model_folder
    own = None if folder is None or settings.learner_url is not None else folder / NAME
    return PromptFile.load(own) if own is not None and own.is_file() else PromptFile.load()


async def engine_state(engine: Engines, process: EngineProcess | None) -> str:
    """``ready``, ``unreachable``, or what our own engine's process is doing instead."""
    if process is not None and process.state != "ready":
        return process.state
    return "ready" if await engine.ready() else "unreachable"


def _engines(
    settings: Settings, on_restart: Callable[[], None], traces: Tracing, secret: bytes
) -> tuple[dict[str, Engine], EngineProcess | None]:
    """Those of the settings, by URL, or one of our own with its process."""
    key = settings.engine_api_key.get_secret_value() if settings.engine_api_key else None
    if settings.engine_urls:
        common: dict[str, Any] = {
            "base_model": settings.model_name,
            "api_key": key,
            "read_timeout": settings.engine_read_timeout,
            "trace_headers": traces.headers,
            "by_priority": settings.engine_by_priority,
        }
        if settings.engine_router:
            (url,), endpoints = settings.engine_urls, Endpoints(settings.engine_endpoints or "")
            return {url: Router(url, endpoints=endpoints, secret=secret, **common)}, None
        return {url: Engine(url, **common) for url in settings.engine_urls}, None
    if settings.bundled:
        log.warning("Serving the bundled model as %r: it knows only a few hundred words", settings.model_name)
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
        by_priority="--scheduling-policy" not in settings.engine_args,
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


def _cluster(url: str) -> OnRay:
    try:
        return OnRay(Cluster.of(url))
    except Invalid as error:
        raise StartRefused(f"ATTUNE_TRAIN_ON: {error.message}") from error


async def _check_router(router: Router, base_hash: BaseHash) -> None:
    """Raise ``StartRefused`` when an engine that answers would not do what it has to. Others are looked at in use."""
    try:
        await router.ready()
        wrong = await router.strangers(await base_hash())
    except AttuneError as error:
        log.warning("the engines behind the router could not be looked at: %s", error.message)
        return
    if wrong:
        raise StartRefused(f"The engine {'; the engine '.join(wrong[:3])}.")


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
