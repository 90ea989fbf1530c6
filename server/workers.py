"""The workers of a server: one learns from edits and looks at canaries, the other trains."""

from collections.abc import Mapping
from typing import Any

from adapters.canary import Canaries
from adapters.together import Together
from adapters.training import Training
from preference import feedback, outcomes
from preference.database import Database
from preference.errors import NotFound
from preference.jobs import Job
from preference.learning.learner import Learner
from preference.worker import Worker
from server.metrics import Metrics
from server.settings import Work


def make_workers(
    *,
    database: Database,
    learner: Learner,
    canaries: Canaries,
    training: Training,
    together: Together,
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
            concurrency=together.jobs_at_once,
            on_failed=training.on_failed,
            ready=together.ready,
            **pace,
        ),
    )
    return {None: (learning, trainer), "learn": (learning,), "train": (trainer,)}[only]
