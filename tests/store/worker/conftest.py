"""A worker on a real store, and what becomes of its jobs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select

from store import users
from store.database import Database
from store.jobs import Job
from store.tables import jobs as jobs_table
from store.worker import Worker
from tests.preference.helpers import ANN, BOB

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
