"""The workers of a server: one learns from edits and looks at canaries, the other trains."""

from collections.abc import Mapping
from typing import Any

from adapters.evaluation.canary import Canaries
from adapters.training.batch.scheduler import BatchScheduler
from adapters.training.job import Training
from preference.feedback import feedback, outcomes
from preference.learning.learner import Learner
from server.observability.metrics import Metrics
from server.settings import Work
from store.database import Database
from store.errors import NotFound
from store.jobs import Job
from store.worker import Worker


def make_workers(
    *,
    database: Database,
    learner: Learner,
    canaries: Canaries,
    training: Training,
    scheduler: BatchScheduler,
    metrics: Metrics,
    learn_concurrency: int,
    pace: Mapping[str, Any],
    only: Work | None = None,
) -> tuple[Worker, ...]:
    """They run when told to. ``pace`` are the arguments of ``Worker`` that both share; ``only`` names one."""

    async def learn(job: Job) -> None:
        with metrics.job(job.kind):
            status = await learner.learn(job.owner, job.subject)
        if status is not None:
            metrics.resolved(status)

    async def train(job: Job) -> None:
        with metrics.job(job.kind):
            await training(job)

    async def look(job: Job) -> None:
        with metrics.job(job.kind):
            await canaries(job)

    async def weigh(job: Job) -> None:
        with metrics.job(job.kind):
            await database.write(outcomes.weigh, job.owner, job.subject)

    async def failed(job: Job, reason: str | None) -> None:
        if job.kind == canaries.kind:
            return await canaries.on_failed(job, reason)
        if job.kind == "weigh":  # the next outcome asks for it again
            return None
        told = reason or "learning failed; the server's log says why"
        try:
            held = await database.write(feedback.resolve, job.owner, job.subject, "failed", told)
        except NotFound:  # erased meanwhile
            return
        if held.status == "failed":  # not one that was learned from, or replaced, before its job was given up
            metrics.resolved(held.status)

    quick = {"learn": learn, canaries.kind: look, "weigh": weigh}
    # Apart, so that a training, which takes minutes, holds up nobody else's learning.
    learning, trainer = (
        Worker(database, quick, concurrency=learn_concurrency, on_failed=failed, **pace),
        Worker(
            database,
            {training.kind: train},
            concurrency=scheduler.jobs_at_once,
            on_failed=training.on_failed,
            ready=scheduler.ready,
            **pace,
        ),
    )
    return {None: (learning, trainer), "learn": (learning,), "train": (trainer,)}[only]
