"""Which job is next: in order, one at a time for each user, tenants in turns, and as soon as it is there."""

import asyncio
import time

from sqlalchemy import select

from store import jobs, users
from store.database import Database
from store.jobs import Job
from store.tables import jobs as jobs_table
from tests.preference.helpers import ANN, BOB, OTHER_ANN
from tests.store.worker.conftest import ends, row, running, worker


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
