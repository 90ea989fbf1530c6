"""Errors are retried, kept and told; an absent engine is waited for."""

from typing import Any

import pytest
from sqlalchemy import Connection, select

from preference.feedback import feedback
from store import jobs, turns
from store.database import Database
from store.errors import AttuneError, Conflict, EngineFailed, EngineRejected, EngineUnavailable, Invalid, NotFound
from store.jobs import Job
from store.tables import jobs as jobs_table
from store.worker import Worker
from tests.preference.helpers import ANN, submit, turn
from tests.store.worker.conftest import Failures, ends, running, worker


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
        return submit(c, ANN, completion_id="c-1", edited_text="Done", body_sha256="b")

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
