"""The workers of a server: one learns from edits and looks at canaries, the other trains."""

from collections.abc import Mapping
from typing import Any

from adapters.canary import Canaries
from adapters.together import Together
from adapters.training import Training
from preference import feedback
from preference.database import Database
from preference.errors import NotFound
from preference.jobs import Job
from preference.learning import Learner
from preference.worker import Worker
from server.metrics import Metrics


def make_workers(
    database: Database,
    learner: Learner,
    canaries: Canaries,
    training: Training,
    together: Together,
    metrics: Metrics,
    learn_concurrency: int,
    pace: Mapping[str, Any],
) -> tuple[Worker, ...]:
    """They run when the caller runs them. ``pace`` are the arguments of ``Worker`` that both share."""

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

    async def failed(job: Job, reason: str | None) -> None:
        if job.kind == canaries.kind:
            return await canaries.on_failed(job, reason)
        told = reason or "learning failed; the server's log says why"
        try:
            held = await database.write(feedback.resolve, job.owner, job.subject, "failed", told)
        except NotFound:  # erased meanwhile
            return
        if held.status == "failed":  # not one that was learned from, or replaced, before its job was given up
            metrics.resolved(held.status)

    quick = {"learn": learn, canaries.kind: look}
    # Apart, so that a training, which takes minutes, holds up nobody else's learning.
    return (
        Worker(database, quick, concurrency=learn_concurrency, on_failed=failed, **pace),
        Worker(
            database,
            {training.kind: train},
            concurrency=together.jobs_at_once,
            on_failed=training.on_failed,
            ready=together.ready,
            **pace,
        ),
    )
