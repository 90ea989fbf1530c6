"""The worker: retries, patience with the engine, hand-over after a crash, and an orderly stop."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, select

from preference import feedback, jobs, turns, users
from preference.database import Database
from preference.errors import AttuneError, Conflict, EngineFailed, EngineRejected, EngineUnavailable, Invalid, NotFound
from preference.jobs import Job, LostLease
from preference.tables import jobs as jobs_table
from preference.worker import Worker
from tests.preference.helpers import ANN, BOB, OTHER_ANN, turn

Handler = Callable[[Job], Awaitable[None]]


class Failures:
    """Keeps what the worker tells."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []

    async def __call__(self, job: Job, reason: str | None) -> None:
        self.told.append((job.subject, reason))


@pytest.fixture
def store(database: Database) -> Database:
    for owner in (ANN, BOB):
        database.write_now(users.ensure, owner)
    return database


def worker(store: Database, handler: Handler, **settings: Any) -> Worker:
    quick = {"poll_seconds": 0.02, "backoff_seconds": 0.001, "max_attempts": 3, **settings}
    return Worker(store, {"learn": handler}, **quick)


@asynccontextmanager
async def running(one: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def row(store: Database, id: str) -> Any:
    return await store.read(lambda c: c.execute(select(jobs_table).where(jobs_table.c.id == id)).one())


async def ends(store: Database, *ids: str) -> list[Any]:
    """The rows of the jobs once they are done or failed."""
    async with asyncio.timeout(20):
        while True:
            rows = [await row(store, id) for id in ids]
            if all(found.state in ("done", "failed") for found in rows):
                return rows
            await asyncio.sleep(0.01)


async def test_jobs_are_done_in_order(store: Database) -> None:
    seen: list[str] = []

    async def handler(job: Job) -> None:
        seen.append(job.subject)

    ids = [await store.write(jobs.enqueue, ANN, "learn", str(i)) for i in range(5)]
    async with running(worker(store, handler)):
        rows = await ends(store, *ids)
    assert [found.state for found in rows] == ["done"] * 5
    assert seen == [str(i) for i in range(5)]


async def test_a_worker_that_works_until_it_is_idle(store: Database) -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(0.1)
        if job.subject == "0":
            await store.write(jobs.enqueue, BOB, "learn", "of another job")

    for number in range(3):
        await store.write(jobs.enqueue, ANN, "learn", str(number))
    later = await store.write(jobs.enqueue, ANN, "learn", "later", time.time() + 1000)
    one = worker(store, handler)
    async with running(one), asyncio.timeout(20):
        await one.until_idle()
    told = await store.read(lambda c: c.execute(select(jobs_table.c.state, jobs_table.c.id)).all())
    assert [id for state, id in told if state != "done"] == [later]
    assert len(told) == 5


async def test_two_users_are_served_at_once_and_one_user_is_not(store: Database) -> None:
    both = asyncio.Barrier(2)
    at_once: set[str] = set()

    async def handler(job: Job) -> None:
        assert job.owner.user not in at_once
        at_once.add(job.owner.user)
        async with asyncio.timeout(10):
            await both.wait()  # passes only with a job of each user
        at_once.remove(job.owner.user)

    ids = [await store.write(jobs.enqueue, owner, "learn", "1") for owner in (ANN, ANN, BOB, BOB)]
    async with running(worker(store, handler, concurrency=4, max_attempts=1)):
        rows = await ends(store, *ids)
    assert [found.state for found in rows] == ["done"] * 4


async def test_tenants_take_turns(store: Database) -> None:
    order: list[str] = []

    async def handler(job: Job) -> None:
        order.append(job.owner.tenant)

    await store.write(users.ensure, OTHER_ANN)
    owners = [ANN, ANN, ANN, BOB, OTHER_ANN, OTHER_ANN]
    ids = [await store.write(jobs.enqueue, owner, "learn", "1") for owner in owners]
    async with running(worker(store, handler, concurrency=1)):
        await ends(store, *ids)
    assert order == ["acme", "globex", "acme", "globex", "acme", "acme"]


async def test_a_worker_that_is_not_ready_takes_nothing(store: Database) -> None:
    seen: list[str] = []
    ready = asyncio.Event()

    async def handler(job: Job) -> None:
        seen.append(job.subject)

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, ready=ready.is_set)):
        await asyncio.sleep(0.2)
        assert not seen
        assert (await row(store, id)).state == "queued"
        ready.set()
        await ends(store, id)
    assert seen == ["1"]


async def test_an_error_is_retried_then_kept_and_told(store: Database) -> None:
    attempts: list[int] = []
    failures = Failures()

    async def handler(job: Job) -> None:
        attempts.append(job.attempt)
        raise ValueError("cannot \x00 learn")

    id = await store.write(jobs.enqueue, ANN, "learn", "fb-1")
    async with running(worker(store, handler, on_failed=failures)):
        (found,) = await ends(store, id)
    assert attempts == [1, 2, 3]
    assert (found.state, found.error) == ("failed", "ValueError: cannot \ufffd learn")
    assert failures.told == [("fb-1", None)]


@pytest.mark.parametrize("kind", [Invalid, Conflict, NotFound, EngineRejected])
async def test_an_error_that_no_retry_makes_right_is_final_at_once(store: Database, kind: type[AttuneError]) -> None:
    attempts: list[int] = []
    failures = Failures()

    async def handler(job: Job) -> None:
        attempts.append(job.attempt)
        raise kind("no use")

    id = await store.write(jobs.enqueue, ANN, "learn", "fb-1")
    async with running(worker(store, handler, on_failed=failures)):
        (found,) = await ends(store, id)
    assert (attempts, found.state, found.error) == ([1], "failed", f"{kind.__name__}: no use")
    assert failures.told == [("fb-1", "no use")]


async def test_feedback_that_could_not_be_learned_from_says_so(store: Database) -> None:
    def edited(c: Connection) -> feedback.Feedback:
        turns.record(c, ANN, turn("c-1"))
        return feedback.accept(c, ANN, completion_id="c-1", edited_text="Done", body_sha256="b")

    async def handler(job: Job) -> None:
        raise EngineRejected("the prompt is too long")

    async def on_failed(job: Job, reason: str | None) -> None:
        await store.write(feedback.resolve, job.owner, job.subject, "failed", reason)

    accepted = await store.write(edited)
    id = await store.read(lambda c: c.execute(select(jobs_table.c.id)).scalar_one())
    async with running(worker(store, handler, on_failed=on_failed)):
        await ends(store, id)
    found = await store.read(feedback.get, ANN, accepted.id)
    assert (found.status, found.reason) == ("failed", "the prompt is too long")


async def test_an_error_that_passes_leaves_the_job_done(store: Database) -> None:
    async def handler(job: Job) -> None:
        if job.attempt < 3:
            raise ValueError("not yet")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler)):
        (found,) = await ends(store, id)
    assert (found.state, found.attempt, found.error) == ("done", 3, None)


async def test_an_absent_engine_costs_no_attempts(store: Database) -> None:
    absences = iter(range(10))

    async def handler(job: Job) -> None:
        if next(absences, None) is not None:
            raise EngineUnavailable("restarting")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, max_backoff_seconds=0.002)):
        (found,) = await ends(store, id)
    assert (found.state, found.attempt, found.deferrals) == ("done", 1, 10)


async def test_an_engine_that_never_comes_back_ends_the_job(store: Database) -> None:
    failures = Failures()

    async def handler(job: Job) -> None:
        raise EngineUnavailable("gone")

    id = await store.write(jobs.enqueue, ANN, "learn", "fb-1")
    async with running(worker(store, handler, on_failed=failures, max_deferrals=4, max_backoff_seconds=0.002)):
        (found,) = await ends(store, id)
    assert (found.state, found.deferrals, found.error) == ("failed", 4, "EngineUnavailable: gone")
    assert failures.told == [("fb-1", "gone")]


async def test_what_the_engine_fails_at_is_an_attempt(store: Database) -> None:
    failures = Failures()

    async def handler(job: Job) -> None:
        raise EngineFailed("an error of its own")

    id = await store.write(jobs.enqueue, ANN, "learn", "fb-1")
    async with running(worker(store, handler, on_failed=failures, max_attempts=3, max_backoff_seconds=0.002)):
        (found,) = await ends(store, id)
    assert (found.state, found.attempt, found.deferrals) == ("failed", 3, 0)
    assert failures.told == [("fb-1", "an error of its own")]


def test_the_defaults_bear_an_engine_away_for_more_than_five_minutes(tmp_path: Any) -> None:
    database = Database(f"sqlite:///{tmp_path}/unused.db")
    patient = Worker(database, {})
    delays = [patient._backoff(earlier) for earlier in range(patient._max_deferrals)]
    assert 0.8 <= delays[0] <= 1.0
    assert max(delays) <= 300.0
    assert sum(delays) > 3600
    database.close()


async def test_the_job_of_a_crashed_worker_is_done_by_the_next(store: Database) -> None:
    seen: list[int] = []

    async def handler(job: Job) -> None:
        seen.append(job.attempt)

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    assert await store.write(jobs.lease, ["learn"], 0.2)  # and it never comes back
    async with running(worker(store, handler)):
        (found,) = await ends(store, id)
    assert (found.state, seen) == ("done", [2])


async def test_a_job_that_crashes_every_worker_fails(store: Database) -> None:
    failures = Failures()

    async def handler(job: Job) -> None:
        raise AssertionError("it must not run again")

    id = await store.write(jobs.enqueue, ANN, "learn", "fb-1")
    for _ in range(3):
        assert await store.write(jobs.lease, ["learn"], 0.0)
    async with running(worker(store, handler, on_failed=failures)):
        (found,) = await ends(store, id)
    assert found.state == "failed"
    assert failures.told == [("fb-1", "the worker stopped 3 times while the job ran")]


async def test_a_long_job_keeps_its_lease(store: Database) -> None:
    runs: list[int] = []

    async def handler(job: Job) -> None:
        runs.append(job.attempt)
        await asyncio.sleep(4)

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, lease_seconds=2)):
        (found,) = await ends(store, id)
    assert (found.state, runs) == ("done", [1])


async def test_a_handler_whose_lease_is_lost_is_stopped(store: Database) -> None:
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def handler(job: Job) -> None:
        started.set()
        try:
            await asyncio.sleep(20)
        finally:
            stopped.set()

    await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, lease_seconds=0.4)):
        await started.wait()
        await store.write(users.delete, ANN)
        async with asyncio.timeout(10):
            await stopped.wait()


async def test_a_lease_renewed_too_late_is_let_go_at_once(store: Database) -> None:
    async def handler(job: Job) -> None:
        if job.attempt == 1:
            raise LostLease("the renewal came late")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, lease_seconds=60)):
        (found,) = await ends(store, id)
    assert (found.state, found.attempt) == ("done", 2)


async def test_stopping_twice_gives_all_jobs_back(store: Database, database_url: str) -> None:
    both = asyncio.Barrier(3)

    async def handler(job: Job) -> None:
        await both.wait()
        await asyncio.sleep(60)

    ids = [await store.write(jobs.enqueue, owner, "learn", "1") for owner in (ANN, BOB)]
    late = Late(database_url)
    task = asyncio.create_task(worker(late, handler).run())
    await both.wait()
    task.cancel()
    await late.releasing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(await row(store, id)).state for id in ids] == ["queued"] * 2
    late.close()


async def test_a_lost_lease_found_by_the_handler_is_no_failure(store: Database) -> None:
    failures = Failures()
    runs: list[int] = []

    async def handler(job: Job) -> None:
        runs.append(job.attempt)
        if job.attempt == 1:
            raise LostLease("found while writing")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, lease_seconds=0.3, on_failed=failures)):
        (found,) = await ends(store, id)
    assert (found.state, runs, failures.told) == ("done", [1, 2], [])


async def test_a_handler_may_finish_its_job_with_its_results(store: Database) -> None:
    async def handler(job: Job) -> None:
        def results(c: Any) -> None:
            jobs.hold(c, job)
            users.touch(c, job.owner)
            jobs.finish(c, job)

        await store.write(results)

    before = await store.write(users.ensure, ANN)
    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler)):
        (found,) = await ends(store, id)
    after = await store.read(users.get, ANN)
    assert after is not None
    assert (found.state, after.revision) == ("done", before.revision + 1)


async def test_stopping_gives_the_jobs_back_at_once(store: Database) -> None:
    started = asyncio.Event()

    async def handler(job: Job) -> None:
        started.set()
        await asyncio.sleep(60)

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler)):
        await started.wait()
    found = await row(store, id)
    assert (found.state, found.attempt) == ("queued", 0)


class Late(Database):
    """A store whose answer to a lease comes late, and which is slow to take jobs back, as from a busy thread."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.leased = asyncio.Event()
        self.releasing = asyncio.Event()

    async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if fn is jobs.release:
            self.releasing.set()
            await asyncio.sleep(0.1)
        result = await super().write(fn, *args, **kwargs)
        if fn is jobs.lease and result is not None:
            self.leased.set()
            await asyncio.sleep(0.1)
        return result


async def test_stopping_while_a_job_is_being_leased_gives_it_back(store: Database, database_url: str) -> None:
    async def handler(job: Job) -> None:
        raise AssertionError("it was stopped before")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    late = Late(database_url)
    async with running(worker(late, handler)):
        await late.leased.wait()
    found = await row(store, id)
    assert (found.state, found.attempt) == ("queued", 0)
    late.close()


async def test_a_woken_worker_does_not_wait_for_its_poll(store: Database) -> None:
    done = asyncio.Event()

    async def handler(job: Job) -> None:
        done.set()

    idle = worker(store, handler, poll_seconds=60)
    async with running(idle):
        await asyncio.sleep(0.2)
        await store.write(jobs.enqueue, ANN, "learn", "1")
        idle.wake()
        async with asyncio.timeout(10):
            await done.wait()


async def test_a_failure_that_cannot_be_told_is_told_again(store: Database) -> None:
    told: list[str | None] = []

    async def on_failed(job: Job, reason: str | None) -> None:
        told.append(reason)
        if len(told) == 1:
            raise OSError("the database is away")

    async def handler(job: Job) -> None:
        raise ValueError("no")

    id = await store.write(jobs.enqueue, ANN, "learn", "1")
    async with running(worker(store, handler, max_attempts=1, lease_seconds=0.3, on_failed=on_failed)):
        (found,) = await ends(store, id)
    assert found.state == "failed"
    assert len(told) == 2
