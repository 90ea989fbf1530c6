"""Leased jobs: in order and one at a time for each user, taken over when a holder dies, fenced."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from store import jobs, users
from store.database import Database
from store.errors import NotFound
from store.jobs import Job, LostLease
from store.owner import Owner
from store.tables import jobs as jobs_table
from tests.preference.helpers import ANN, BOB, OTHER_ANN

KINDS = ["learn", "train"]


@pytest.fixture
def store(database: Database) -> Database:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(users.ensure, owner)
    return database


def lease(store: Database, kinds: list[str] = KINDS, seconds: float = 60) -> Job | None:
    return store.write_now(jobs.lease, kinds, seconds)


def taken(store: Database, seconds: float = 60) -> Job:
    job = lease(store, seconds=seconds)
    assert job is not None
    return job


def row(store: Database, id: str) -> Any:
    return store.read_now(lambda c: c.execute(select(jobs_table).where(jobs_table.c.id == id)).one())


def make_due(store: Database) -> None:
    store.write_now(lambda c: c.execute(update(jobs_table).values(run_after=0.0)))


def test_jobs_of_a_user_go_one_at_a_time_in_order(store: Database) -> None:
    ids = [store.write_now(jobs.enqueue, ANN, "learn", str(i)) for i in range(12)]
    for id in ids:
        job = taken(store)
        assert job.id == id
        assert lease(store) is None
        store.write_now(jobs.finish, job)
    assert lease(store) is None


def test_a_running_job_holds_back_every_kind_of_its_user_and_no_other_user(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1")
    train = store.write_now(jobs.enqueue, ANN, "train", "2")
    for owner in (BOB, OTHER_ANN):
        store.write_now(jobs.enqueue, owner, "learn", "3")
    first = taken(store)
    assert first.owner == ANN
    assert {taken(store).owner, taken(store).owner} == {BOB, OTHER_ANN}
    assert lease(store) is None
    store.write_now(jobs.finish, first)
    assert taken(store).id == train


def test_tenants_take_turns_however_much_one_of_them_queued(store: Database) -> None:
    crowd = [Owner("acme", f"user-{i}") for i in range(6)]
    late = [OTHER_ANN, Owner("zeta", "zoe"), Owner("zeta", "zed")]
    for owner in [*crowd, *late]:
        store.write_now(users.ensure, owner)
        store.write_now(jobs.enqueue, owner, "learn", "1")
    order, after = [], ""
    while (job := store.write_now(jobs.lease, KINDS, 60, after)) is not None:
        order.append(job.owner)
        after = job.owner.tenant
    tenants = [owner.tenant for owner in order]
    assert tenants == ["acme", "globex", "zeta", "acme", "zeta", *["acme"] * 4]
    assert [owner for owner in order if owner.tenant == "acme"] == crowd
    assert [owner for owner in order if owner.tenant == "zeta"] == late[1:]


def test_only_the_asked_kinds_are_leased(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "train", "1")
    assert lease(store, ["learn"]) is None
    assert lease(store, []) is None
    assert lease(store, ["train"]) is not None


def test_a_job_waits_for_its_time(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1", run_after=time.time() + 60)
    assert lease(store) is None


def test_a_job_that_waits_for_a_retry_keeps_its_place(store: Database) -> None:
    first = store.write_now(jobs.enqueue, ANN, "learn", "1")
    second = store.write_now(jobs.enqueue, ANN, "learn", "2")
    store.write_now(jobs.fail, taken(store), "no\x00\ud800pe", 60)
    assert row(store, first).error == "no\ufffd?pe"
    assert lease(store) is None
    make_due(store)
    again = taken(store)
    assert (again.id, again.attempt, again.fence) == (first, 2, 2)
    store.write_now(jobs.fail, again, "never", None)
    assert (row(store, first).state, row(store, first).error) == ("failed", "never")
    assert taken(store).id == second


def test_a_deferred_or_released_job_loses_no_attempt(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1")
    store.write_now(jobs.defer, taken(store), "engine away", 0)
    job = taken(store)
    assert (job.attempt, job.deferrals, job.fence) == (1, 1, 2)
    store.write_now(jobs.release, job)
    job = taken(store)
    assert (job.attempt, job.deferrals, job.fence) == (1, 1, 3)


def test_a_job_left_behind_is_taken_over_and_its_old_holder_fenced_out(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1")
    old = taken(store, seconds=0.0)
    new = taken(store)
    assert (new.id, new.attempt, new.fence) == (old.id, 2, old.fence + 1)
    writes: list[Callable[[Connection], None]] = [
        lambda c: jobs.hold(c, old),
        lambda c: jobs.renew(c, old, 60),
        lambda c: jobs.finish(c, old),
        lambda c: jobs.fail(c, old, "late", 1.0),
        lambda c: jobs.fail(c, old, "late", None),
        lambda c: jobs.defer(c, old, "late", 1.0),
        lambda c: jobs.release(c, old),
    ]
    before = row(store, new.id)
    for write in writes:
        with pytest.raises(LostLease):
            store.write_now(write)
    assert row(store, new.id) == before
    store.write_now(jobs.hold, new)
    store.write_now(jobs.finish, new)


def test_a_renewed_lease_is_not_taken_over(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1")
    job = taken(store, seconds=0.0)
    store.write_now(jobs.renew, job, 60)
    assert lease(store) is None


def test_finish_may_be_called_twice_by_its_holder(store: Database) -> None:
    id = store.write_now(jobs.enqueue, ANN, "learn", "1")
    job = taken(store)
    store.write_now(jobs.finish, job)
    store.write_now(jobs.finish, job)
    assert row(store, id).state == "done"
    with pytest.raises(LostLease):
        store.write_now(jobs.renew, job, 60)


def test_the_job_of_a_deleted_user_is_lost(store: Database) -> None:
    store.write_now(jobs.enqueue, ANN, "learn", "1")
    job = taken(store)
    store.write_now(users.delete, ANN)
    with pytest.raises(LostLease):
        store.write_now(jobs.finish, job)
    with pytest.raises(NotFound):
        store.write_now(jobs.enqueue, ANN, "learn", "2")


async def test_many_workers_keep_order_and_take_each_job_once(store: Database, database_url: str) -> None:
    """Two processes' worth of workers race for the jobs of three users; the kinds of a user never overlap."""
    other = Database(database_url)
    owners = [ANN, BOB, OTHER_ANN]
    ids: dict[Owner, list[str]] = {owner: [] for owner in owners}
    for i in range(8):
        for owner in owners:
            ids[owner].append(await store.write(jobs.enqueue, owner, KINDS[i % 2], str(i)))
    running: set[Owner] = set()
    done: dict[Owner, list[str]] = {owner: [] for owner in owners}

    async def work(database: Database) -> None:
        while any(len(done[owner]) < 8 for owner in owners):
            job = await database.write(jobs.lease, KINDS, 60)
            if job is None:
                await asyncio.sleep(0.002)
                continue
            assert job.owner not in running
            running.add(job.owner)
            await asyncio.sleep(0.001)
            running.remove(job.owner)
            done[job.owner].append(job.id)
            await database.write(jobs.finish, job)

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(d) for d in [store, other] * 3))
    other.close()
    for owner in owners:
        assert sorted(done[owner]) == sorted(ids[owner])
        for parity in (0, 1):
            of_kind = ids[owner][parity::2]
            assert [id for id in done[owner] if id in of_kind] == of_kind
