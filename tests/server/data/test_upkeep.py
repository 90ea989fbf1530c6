"""What grows is cut back: finished jobs, turns that no standing edit refers to, directories of versions not ready."""

import time
from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from adapters.artifacts.directories import Directories
from adapters.lifecycle import versions
from server.data.upkeep import Upkeep, remove_stranded
from store import turns, users
from store.database import Database
from store.owner import Owner
from store.tables import jobs as jobs_table
from store.tables import turns as turns_table
from tests.preference.helpers import ANN, BOB, submit, turn

DAY = 86_400.0
NOW = time.time()


def upkeep(database: Database, folder: Path, turns_days: float | None = None) -> Upkeep:
    return Upkeep(database, Directories(folder), jobs_days=30, turns_days=turns_days)


def add_jobs(c: Connection, owner: Owner, state: str, count: int, age: float) -> None:
    rows = [
        {
            "tenant_id": owner.tenant,
            "user_id": owner.user,
            "id": f"job-{state}-{age}-{i}",
            "kind": "learn",
            "subject": "fb-1",
            "state": state,
            "run_after": NOW - age,
            "fence": 1,
            "attempt": 1,
            "deferrals": 0,
            "created_at": NOW - age,
        }
        for i in range(count)
    ]
    c.execute(insert(jobs_table), rows)


async def test_jobs_that_ended_long_ago_are_deleted(database: Database, tmp_path: Path) -> None:
    for owner in (ANN, BOB):
        await database.write(users.ensure, owner)
        for state in ("queued", "running", "done", "failed"):
            await database.write(add_jobs, owner, state, 1, 29 * DAY)
            await database.write(add_jobs, owner, state, 601, 31 * DAY)
    await upkeep(database, tmp_path).prune()
    query = select(jobs_table.c.user_id, jobs_table.c.state, func.count()).group_by("user_id", "state")
    left = await database.read(lambda c: {(user, state): count for user, state, count in c.execute(query)})
    kept = {"queued": 602, "running": 602, "done": 1, "failed": 1}
    assert left == {(user, state): count for user in ("ann", "bob") for state, count in kept.items()}


async def test_old_turns_go_but_those_that_feedback_stands_on(database: Database, tmp_path: Path) -> None:
    owners = [Owner("acme", f"user-{i:02}") for i in range(60)]  # more than are looked at in one transaction
    for owner in owners:
        await database.write(users.ensure, owner)
        await database.write(turns.record, owner, turn("c-old", NOW - 8 * DAY))
    asked = {"c-edited": 8.0, "c-again": 8.0, "c-rated": 8.0, "c-new": 6.0}
    for completion_id, days in asked.items():
        await database.write(turns.record, owners[7], turn(completion_id, NOW - days * DAY, "a", "b"))

    def edit(c: Connection, completion_id: str, choice: int, text: str) -> None:
        submit(c, owners[7], completion_id=completion_id, choice=choice, edited_text=text, body_sha256=text)

    def rate(c: Connection) -> None:
        submit(c, owners[7], completion_id="c-rated", thumb="down", body_sha256="x")

    await database.write(rate)
    await database.write(edit, "c-edited", 1, "better")
    for text in ("better", "best"):
        await database.write(edit, "c-again", 0, text)
    await upkeep(database, tmp_path).prune()
    assert await database.read(lambda c: c.execute(select(func.count()).select_from(turns_table)).scalar_one()) == 64
    await upkeep(database, tmp_path, turns_days=7).prune()
    left = await database.read(lambda c: list(c.execute(select(turns_table.c.user_id, turns_table.c.completion_id))))
    assert sorted(tuple(row) for row in left) == [(owners[7].user, id) for id in sorted(asked)]


async def test_directories_of_versions_that_are_not_ready_go(database: Database, tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    opaque_id = (await database.write(users.ensure, ANN)).opaque_id
    states: tuple[versions.State, ...] = ("ready", "training")
    for number, state in enumerate(states, 1):
        await database.write(versions.queue, ANN)
        await database.write(versions.set_state, ANN, number, state)
        directories.path(opaque_id, number).mkdir(parents=True)
    unknown = directories.path("f" * 32, 1)  # of another database: not ours to remove
    unknown.mkdir(parents=True)
    await upkeep(database, tmp_path).tidy()
    assert directories.published(opaque_id) == {1}
    assert unknown.exists()


def test_directories_of_versions_that_are_not_ready_are_removed(database: Database, tmp_path: Path) -> None:
    directories = Directories(tmp_path)
    opaque_ids = {owner: database.write_now(users.ensure, owner).opaque_id for owner in (ANN, BOB)}
    states: tuple[versions.State, ...] = ("ready", "refused", "deleted", "training")
    for owner, opaque_id in opaque_ids.items():
        for number, state in enumerate(states, 1):
            database.write_now(versions.queue, owner)
            database.write_now(versions.set_state, owner, number, state)
            directories.path(opaque_id, number).mkdir(parents=True)
    assert sorted(directories.users()) == sorted(opaque_ids.values())
    assert database.write_now(remove_stranded, ANN, directories) == [2, 3, 4]
    assert directories.published(opaque_ids[ANN]) == {1}
    assert directories.published(opaque_ids[BOB]) == {1, 2, 3, 4}
    assert database.write_now(remove_stranded, ANN, directories) == []
    found = database.read_now(users.named, opaque_ids[BOB])
    assert found is not None
    assert found.owner == BOB
    assert database.read_now(users.named, "0" * 32) is None
