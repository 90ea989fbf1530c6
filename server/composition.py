"""The composition root: what runs, made once and closed in order. `data/storage.py` opens what is kept."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from adapters.artifacts.disk_cache import DiskCache, NoReaders
from adapters.evaluation.canary import Canaries
from adapters.training.cohort_job import Cohorts
from adapters.training.job import Training
from adapters.training.process import RunTrainer
from preference.feedback.feedback import Feedback
from preference.ports import Embedder, Kinds
from preference.prior import Prior
from preference.recall.embedder import SentenceEmbedder
from preference.recall.index import RecallLimits
from preference.recall.kind import KindEmbedder
from preference.recall.recall import Recall
from server.admission.identity import Identity
from server.admission.ledger import Ledger
from server.admission.limits import Limits, Rate
from server.admission.storage_quota import Quota
from server.answering.answer import Assistant
from server.answering.history import Histories
from server.answering.planner import Planner
from server.data import reembedding
from server.data.erasure import Erasures
from server.data.storage import (
    check_embedder,
    open_count,
    open_database,
    open_directories,
    private_directory,
    server_secret,
)
from server.data.upkeep import Upkeep
from server.engine.base_hash import BaseHash
from server.engine.pool import Engines, Registries, Replica
from server.engine.router import Router
from server.engine.system_role import has_system_role
from server.hosts import check_router, open_hosts
from server.learner import make_learner
from server.observability.gauges import Gauges
from server.observability.last_hour import LastHour
from server.observability.metrics import Metrics
from server.observability.tracing import tracing
from server.replicas import make_replicas
from server.rollout import roll_out
from server.scheduler import make_scheduler
from server.services import Services, engine_state
from server.settings import Settings, Work
from server.tasks import run_task, supervise
from server.workers import make_workers
from store import shared_secret
from store.database import Database
from store.owner import Owner
from store.users import User
from store.worker import Worker

log = logging.getLogger(__name__)
_LATE = 60.0  # clocks differ between machines, and a request may have read its user just before the erasure


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
    on_fatal: Callable[[str], None] = lambda reason: None,
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
        replicas: list[Replica] = []

        def engine_restarted() -> None:
            metrics.engine_restarted()
            for replica in replicas:
                replica.registry.reset()

        directories = open_directories(settings)
        private_directory(directories.root)
        own_secret = await asyncio.to_thread(server_secret, settings.data_dir)
        secret = await database.write(shared_secret.agree, own_secret)
        if secret != own_secret:
            log.info("the secret of the database's other servers is used, not that of %s", settings.data_dir)
        hosts, process = open_hosts(settings, engine_restarted, traces, secret)
        for host in hosts.values():
            stack.push_async_callback(host.close)
        tasks: list[asyncio.Task[None]] = []
        if process is not None:
            tasks.append(run_task(stack, supervise(process, on_fatal), "engine"))
        sentences: Embedder
        if embedder is not None:
            sentences = kinds = embedder
        else:  # read from disk while the engine starts
            sentences = encoder = await asyncio.to_thread(SentenceEmbedder, settings.embedder)
            kinds = await asyncio.to_thread(KindEmbedder, encoder)
        if settings.reembed:
            tasks.append(run_task(stack, reembedding.run(database, kinds), "reembedding"))
        else:
            await check_embedder(database, kinds)
        system_role = await asyncio.to_thread(has_system_role, settings)
        base_hash = BaseHash(settings)
        for host in hosts.values():
            if isinstance(host, Router):
                await check_router(host, base_hash)
        replicas += make_replicas(
            settings, stack, database, directories, hosts, base_sha256=base_hash, on_swap=metrics.swapped
        )
        engine = Engines(replicas)
        stack.push_async_callback(engine.close)
        registry = Registries(engine)
        recalling = RecallLimits(alike=settings.recall_min_score, budget=settings.preference_token_budget)
        recall = Recall(database, kinds, recalling, on_recall=metrics.recalled)
        prior = Prior(database, kinds, recall, settings.prior_tenants)
        scheduler = make_scheduler(settings, stack, run_trainer)
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
            run_trainer=scheduler,
            ready=scheduler.ready,
            system_role=system_role,
        )
        training = Training(
            database,
            replicas[0].engine,  # a gate loads, asks and unloads one and the same
            directories,
            base_model=settings.training_base,
            recipe=settings.recipe,
            objectives=settings.tenant_objectives,
            system_role=system_role,
            run_trainer=scheduler,
            beginning=cohorts.beginning,
            follow=follow,
            policy=policy,
            commit=settings.commit,
        )
        learner = make_learner(
            settings, stack, database, engine, kinds,
            limits=recalling, system_role=system_role, on_tokens=metrics.studied,
        )  # fmt: skip
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
        tasks.append(run_task(stack, erasures.run(), "erasures"))
        workers: tuple[Worker, ...] = ()
        working = settings.worker_in_process if work is None else work
        if settings.adapter_store:
            readers = NoReaders() if settings.engine_router else engine
            cache = DiskCache(directories, readers, settings.adapter_cache_bytes)
            tasks.append(run_task(stack, cache.run(), "disk cache"))
        if working or settings.adapter_store:  # what is deleted elsewhere lies on this disk still
            upkeep = Upkeep(
                database,
                directories,
                jobs_days=settings.retain_jobs_days,
                turns_days=settings.retain_turns_days,
                usage_days=settings.retain_usage_days,
            )
            tasks.append(run_task(stack, upkeep.run(), "upkeep"))
        if working:
            pace = {"lease_seconds": lease_seconds, "max_attempts": max_attempts}
            canaries = Canaries(database, policy, follow)
            workers = make_workers(
                database=database, learner=learner, canaries=canaries, training=training, scheduler=scheduler,
                metrics=metrics, learn_concurrency=settings.learn_concurrency, pace=pace, only=only,
            )  # fmt: skip
            tasks.extend(run_task(stack, worker.run(), "worker") for worker in workers)
            if settings.cohort_tenants:
                tasks.append(run_task(stack, cohorts.run(), "cohorts"))
        last_hour = LastHour(database, registry, metrics.registry)
        if serve:
            tasks.append(run_task(stack, last_hour.run(), "last hour"))
        histories = None
        if settings.history_days:

            def given(owner: Owner, held: Feedback) -> None:
                metrics.accepted(owner.tenant, held.type, held.cost)
                for worker in workers if held.status == "pending" else ():
                    worker.wake()

            min_edits = settings.adapter_min_edits
            histories = Histories(database, kinds, days=settings.history_days, min_edits=min_edits, on_given=given)
            tasks.append(run_task(stack, histories.run(), "histories"))
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
        tasks.append(run_task(stack, limiting.run(), "limits"))
        ledger = Ledger(database, metrics.spent)
        stack.push_async_callback(ledger.write)
        tasks.append(run_task(stack, ledger.run(), "ledger"))
        planner = Planner(
            settings=settings, database=database, recall=recall, secret=secret, metrics=metrics, quota=quota,
            limits=limiting, system_role=system_role, prior=prior,
        )  # fmt: skip
        assistant = Assistant(
            settings=settings, database=database, engines=engine, planner=planner, metrics=metrics, ledger=ledger,
            system_role=system_role, on_turn=histories.notice if histories else None,
        )  # fmt: skip
        gauges = Gauges(
            metrics.registry,
            database,
            registry,
            lambda: engine_state(engine, process),
            common_up=lambda: limiting.common_up,
        )
        yield Services(
            settings=settings, system_role=system_role, database=database, embedder=kinds, sentences=sentences,
            engine=engine, engine_process=process, recall=recall, registry=registry, directories=directories,
            training=training, erasures=erasures, identity=identity, assistant=assistant, quota=quota, limits=limiting,
            ledger=ledger, workers=workers, tasks=tuple(tasks), metrics=metrics, last_hour=last_hour, gauges=gauges,
            tracing=traces, signal_rate=Rate(settings.signals_per_minute, "signals"), follow=follow,
        )  # fmt: skip


def _grace(settings: Settings, database: Database, *, serve: bool) -> float:
    """How long other processes may be answering a user who is erased; 0 where this is the only one that answers."""
    alone = serve and (settings.engine_url is None or database.url.get_backend_name() == "sqlite")
    return 0.0 if alone else settings.engine_read_timeout + _LATE
