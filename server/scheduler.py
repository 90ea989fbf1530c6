"""The scheduler of trainings, as the settings have it: on this machine, or on a Ray cluster."""

from contextlib import AsyncExitStack

from adapters.training.allowance import Allowance
from adapters.training.batch.scheduler import BatchScheduler
from adapters.training.on_ray import Cluster, OnRay
from adapters.training.process import RunTrainer
from server.errors import StartRefused
from server.settings import Settings
from store.errors import Invalid


def make_scheduler(settings: Settings, stack: AsyncExitStack, run_trainer: RunTrainer | None) -> BatchScheduler:
    """``run_trainer`` takes the place of the trainers' programs. Raises ``StartRefused`` for what is no cluster."""
    allowance = Allowance(settings.train_hours, settings.train_seconds_per_hour)
    if run_trainer is not None:
        return BatchScheduler(alone=run_trainer, many=None, allowance=allowance)
    if settings.train_on is None:
        return BatchScheduler(at_once=settings.train_at_once, allowance=allowance)
    cluster = _cluster(settings.train_on)
    stack.push_async_callback(cluster.close)
    return BatchScheduler(alone=cluster.alone, many=cluster.many, at_once=settings.train_at_once, allowance=allowance)


def _cluster(url: str) -> OnRay:
    try:
        return OnRay(Cluster.of(url))
    except Invalid as error:
        raise StartRefused(f"ATTUNE_TRAIN_ON: {error.message}") from error
