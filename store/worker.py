"""The worker: takes leased jobs and runs their handlers, a few at a time, until it is cancelled."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeGuard, TypeVar

from store import jobs
from store.database import Database
from store.errors import AttuneError, Conflict, EngineFailed, EngineRejected, EngineUnavailable, Invalid, NotFound
from store.jobs import Job, LostLease

Handler = Callable[[Job], Awaitable[None]]
OnFailed = Callable[[Job, str | None], Awaitable[None]]
T = TypeVar("T")

log = logging.getLogger(__name__)
FINAL = (Invalid, Conflict, NotFound, EngineRejected)
"""Errors that no retry makes right."""


async def _nothing(job: Job, reason: str | None) -> None:
    """The default of ``on_failed``."""


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives; who is cancelled meanwhile waits for its end, so that nothing goes on behind their back."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


class Worker:
    """Runs jobs of the kinds in ``handlers``. A job may run more than once: a handler must bear that.

    An error puts the job back with exponential back-off from ``backoff_seconds``, up to ``max_attempts``; one of
    ``FINAL`` ends it at once. An engine that is away (``EngineUnavailable``, not ``EngineFailed``) is no attempt, and
    is borne ``max_deferrals`` times (at the defaults two days). A job that ends as failed is told to
    ``on_failed(job, reason)`` before its row says so, at least once. The reason is a sentence for the user, or None
    where the error was not expected: the log has it.
    Jobs are taken only while ``ready()`` says so.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        concurrency: int = 2,
        lease_seconds: float = 60,
        max_attempts: int = 5,
        poll_seconds: float = 0.5,
        on_failed: OnFailed = _nothing,
        ready: Callable[[], bool] = lambda: True,
        backoff_seconds: float = 1.0,
        max_backoff_seconds: float = 300.0,
        max_deferrals: int = 600,
    ) -> None:
        self._database = database
        self._handlers = dict(handlers)
        self._due = jobs.due(handlers)
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._poll_seconds = poll_seconds
        self._on_failed = on_failed
        self._ready = ready
        self._backoff_seconds = backoff_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._max_deferrals = max_deferrals
        self._work = asyncio.Event()
        self._held: set[Job] = set()
        self._after = ""  # the tenant whose turn it was

    def wake(self) -> None:
        """Say that work came in, so that nobody waits for the next poll. Call it in the worker's event loop."""
        self._work.set()

    async def until_idle(self) -> None:
        """Wait until no job is due, or may be taken, and none is under way. What is put back for later is left."""
        looks = 0
        while looks < 2:  # between two looks a job is leased and not yet held
            due = self._ready() and await self._database.look_up(jobs.is_due, self._due)
            looks = 0 if due or self._held else looks + 1
            await asyncio.sleep(self._poll_seconds)

    async def run(self) -> None:
        """Work until cancelled; then the handlers are cancelled and their jobs given back."""
        slots = asyncio.Semaphore(self._concurrency)

        def free(_: asyncio.Task[None]) -> None:
            slots.release()
            self.wake()  # the user's next job may go

        try:
            async with asyncio.TaskGroup() as running:
                while True:
                    await slots.acquire()
                    self._work.clear()
                    job = await to_the_end(self._next())
                    if job is None:
                        slots.release()
                        await self._idle()
                    else:
                        running.create_task(self._serve(job), name=job.id).add_done_callback(free)
        finally:  # here, and not where they are served: a task may be cancelled before its first step
            await to_the_end(self._give_back())

    async def _next(self) -> Job | None:
        try:
            if not self._ready() or not await self._database.look_up(jobs.is_due, self._due):
                return None
            job = await self._database.write(jobs.lease, self._handlers, self._lease_seconds, self._after)
        except Exception:
            log.exception("no job could be leased")
            return None
        if job is not None:
            self._held.add(job)
            self._after = job.owner.tenant
        return job

    async def _idle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._work.wait()

    async def _serve(self, job: Job) -> None:
        try:
            if job.attempt > self._max_attempts:
                error = AttuneError(f"the worker stopped {self._max_attempts} times while the job ran")
                log.error("job %s (%s) failed for good: %s", job.id, job.kind, error.message)
                await self._give_up(job, error)
                return
            failure = await self._handle(job)
            if failure is None:
                await self._database.write(jobs.finish, job)
            else:
                await self._failed(job, failure)
        except LostLease as error:
            log.warning("job %s (%s) was taken over, deleted, or renewed too late", job.id, job.kind)
            await self._requeue(job, error)
        except Exception:  # the job's lease runs out and it is tried again
            log.exception("what came of job %s (%s) could not be stored", job.id, job.kind)
        self._held.discard(job)

    async def _handle(self, job: Job) -> BaseException | None:
        """Run the handler while its lease is renewed: its error, or None. Raises ``LostLease``."""
        handling = asyncio.ensure_future(self._handlers[job.kind](job))
        renewing = asyncio.ensure_future(self._renew(job))
        try:
            await asyncio.wait((handling, renewing), return_when=asyncio.FIRST_COMPLETED)
            if handling.done():
                return handling.exception() if not handling.cancelled() else asyncio.CancelledError("cancelled")
            raise LostLease(f"the lease of job {job.id} is lost")
        finally:
            for task in (handling, renewing):
                task.cancel()
            await asyncio.gather(handling, renewing, return_exceptions=True)

    async def _renew(self, job: Job) -> None:
        """Renew the lease until it is lost."""
        until = time.monotonic() + self._lease_seconds
        while time.monotonic() < until:
            await asyncio.sleep(self._lease_seconds / 4)
            asked = time.monotonic()
            try:
                await self._database.write(jobs.renew, job, self._lease_seconds)
                until = asked + self._lease_seconds
            except LostLease:
                return
            except Exception:
                log.exception("the lease of job %s could not be renewed", job.id)

    async def _failed(self, job: Job, error: BaseException) -> None:
        if isinstance(error, LostLease):
            raise error
        if _is_away(error) and job.deferrals < self._max_deferrals:
            log.info("job %s (%s) waits for the engine: %s", job.id, job.kind, error.message)
            await self._database.write(jobs.defer, job, _described(error), self._backoff(job.deferrals))
        elif _is_away(error) or isinstance(error, FINAL) or job.attempt >= self._max_attempts:
            log.error("job %s (%s) failed for good", job.id, job.kind, exc_info=error)
            await self._give_up(job, error)
        else:
            log.warning("job %s (%s) failed, attempt %d", job.id, job.kind, job.attempt, exc_info=error)
            await self._database.write(jobs.fail, job, _described(error), self._backoff(job.attempt - 1))

    async def _give_up(self, job: Job, error: BaseException) -> None:
        await self._database.write(jobs.renew, job, self._lease_seconds)  # still ours to judge?
        await self._on_failed(job, jobs.kept(error.message) if isinstance(error, AttuneError) else None)
        await self._database.write(jobs.fail, job, _described(error), None)

    async def _requeue(self, job: Job, error: LostLease) -> None:
        """Put the job back at once, where its lease ran out and nobody took it over."""
        try:
            await self._database.write(jobs.fail, job, _described(error), 0.0)
        except LostLease:  # somebody else's by now, or gone
            return
        except Exception:
            log.info("job %s (%s) could not be put back; its lease runs out", job.id, job.kind, exc_info=True)

    async def _give_back(self) -> None:
        for job in list(self._held):
            try:
                await self._database.write(jobs.release, job)
            except LostLease:  # over by now, or somebody else's
                continue
            except Exception:
                log.info("job %s (%s) could not be given back; its lease runs out", job.id, job.kind, exc_info=True)

    def _backoff(self, earlier: int) -> float:
        delay = min(self._backoff_seconds * 2.0 ** min(earlier, 30), self._max_backoff_seconds)
        return delay * random.uniform(0.8, 1.0)  # those who failed together do not come back together


def _is_away(error: BaseException) -> TypeGuard[EngineUnavailable]:
    return isinstance(error, EngineUnavailable) and not isinstance(error, EngineFailed)


def _described(error: BaseException) -> str:
    """An error as its job's row keeps it, for the operator alone."""
    return f"{type(error).__name__}: {error}"
