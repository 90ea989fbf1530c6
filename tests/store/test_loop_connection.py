"""The event loop's own way to SQLite: the same rows, nothing lost, nobody waited for in it."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from store import turns, users
from store.database import UNSYNCED_PER_CHECKPOINT, Database
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.turns import Turn
from store.values import Value
from tests.preference.helpers import turn

ANN = Owner("acme", "ann")


def _held(c: Connection, completion_id: str) -> Turn:
    return turns.get(c, ANN, completion_id)


async def test_what_is_looked_up_and_jotted_is_what_reads_and_writes_know(database: Database) -> None:
    assert await database.look_up(users.get, ANN) is None
    made = await database.write(users.ensure, ANN)
    await database.write(users.set_standing_values, ANN, [Value(preference="Be kind")])
    looked_up = await database.look_up(users.get, ANN)
    assert looked_up == await database.read(users.get, ANN)
    assert looked_up is not None
    assert looked_up.standing_values == (Value(preference="Be kind"),)
    said = turn("c-1", 1.0, "Dear Sam", "Sam", partial=True)
    await database.write_unsynced(turns.record, ANN, said, made.opaque_id)
    assert await database.read(_held, "c-1") == said


async def test_errors_are_those_of_a_write(database: Database) -> None:
    with pytest.raises(NotFound):
        await database.write_unsynced(turns.record, ANN, turn("c-1"))
    made = await database.write(users.ensure, ANN)
    with pytest.raises(NotFound):
        await database.write_unsynced(turns.record, ANN, turn("c-1"), "of another life")
    await database.write_unsynced(turns.record, ANN, turn("c-1"), made.opaque_id)
    with pytest.raises(Conflict):
        await database.write_unsynced(turns.record, ANN, turn("c-1"), made.opaque_id)
    odd = replace(turn("c-2"), request=[{"role": "user", "content": float("nan")}])
    with pytest.raises(Invalid):
        await database.write_unsynced(turns.record, ANN, odd, made.opaque_id)


async def test_who_finds_another_writing_waits_in_a_thread(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()
    await database.write(users.ensure, ANN)
    other = sqlite3.connect(tmp_path / "attune.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(database.write_unsynced(turns.record, ANN, turn("c-1")))
        await asyncio.sleep(0.05)
        assert not writing.done()
        assert await database.look_up(users.get, ANN)  # no writer holds up a reader
        writing.cancel()  # the client left: the turn is stored all the same
        other.execute("COMMIT")
        async with asyncio.timeout(10):
            while "c-1" not in [one.completion_id for one in await database.read(turns.page, ANN)]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        other.close()
        database.close()


async def test_the_log_is_moved_into_the_file_from_time_to_time(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()
    await database.write(users.ensure, ANN)
    log = tmp_path / "attune.db-wal"
    sizes = []
    for number in range(3 * UNSYNCED_PER_CHECKPOINT):
        await database.write_unsynced(turns.record, ANN, turn(f"c-{number}", float(number), "x" * 3000))
        if number % UNSYNCED_PER_CHECKPOINT == UNSYNCED_PER_CHECKPOINT - 1:
            sizes.append(log.stat().st_size)
            await database.write(users.touch, ANN)  # queues behind the checkpoint
    database.close()
    assert sizes[2] < 1.5 * sizes[0]


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    with pytest.raises(Exception, match="database"):
        await database.look_up(users.get, ANN)
    database.close()
