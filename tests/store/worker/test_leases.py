"""A job goes from hand to hand: after a crash, by a lost lease, by an orderly stop."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from store import jobs, users
from store.database import Database
from store.jobs import Job, LostLease
from tests.preference.helpers import ANN, BOB
from tests.store.worker.conftest import Failures, ends, row, running, worker


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
