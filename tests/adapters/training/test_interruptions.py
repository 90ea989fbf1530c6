"""A training that is stopped, erased or killed in the middle publishes nothing and leaves nothing."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.lifecycle import activation, runs, versions
from adapters.lifecycle.activation import Policy
from adapters.training.process import run_command
from preference.feedback import edit_rows
from store import users
from store.database import Database
from store.errors import AttuneError
from store.jobs import Job, LostLease
from tests.adapters.fakes import until
from tests.adapters.training.conftest import ANN, World, worse


async def test_an_edit_that_is_erased_meanwhile_is_in_no_version(world: World) -> None:
    await world.add_edits()
    (edit, *_) = await world.database.read(edit_rows.edits, ANN)

    async def erase(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.database.write(activation.erase_feedback, ANN, edit.feedback_id, Policy())

    with pytest.raises(LostLease):
        await world.training(erase)(await world.job())
    assert [v.state for v in await world.database.read(versions.all_of, ANN)] == ["failed", "queued"]
    assert world.clean()
    assert not world.published


async def test_a_user_erased_during_training_gets_nothing_published(world: World) -> None:
    await world.add_edits()
    opaque = (await world.user()).opaque_id

    async def erase(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.database.write(users.delete, ANN)
        await world.database.write(users.ensure, ANN)

    with pytest.raises(LostLease):
        await world.training(erase)(await world.job())
    assert not (world.root / opaque).exists()
    assert (await world.user()).active_adapter == 0
    assert await world.database.read(versions.all_of, ANN) == []
    assert world.clean()


async def test_a_user_erased_before_the_texts_are_written_has_none_written(world: World) -> None:
    await world.add_edits()
    opaque, job, reached = (await world.user()).opaque_id, await world.job(), []

    class Erasing(Directories):
        def stage(self, opaque_id: str, version: int) -> Path:
            world.database.write_now(users.delete, ANN)
            self.remove_all(opaque_id)  # as whoever erases does, too early for what comes now
            return super().stage(opaque_id, version)

    async def trainer(directory: Path, seconds: float) -> None:
        reached.append(directory)

    training = world.training(trainer)
    training._directories = Erasing(world.root)
    with pytest.raises(LostLease):
        await training(job)
    assert not reached
    assert not (world.root / opaque).exists()
    assert world.clean()


async def test_stopping_ends_a_users_training_and_leaves_no_file(world: World) -> None:
    await world.add_edits()
    opaque, under_way = (await world.user()).opaque_id, asyncio.Event()

    async def trainer(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        under_way.set()
        await asyncio.sleep(3600)

    training = world.training(trainer)
    running = asyncio.create_task(training(await world.job()))
    await under_way.wait()
    await training.stop("of somebody else")
    assert not running.done()
    await training.stop(opaque)
    assert running.cancelled()
    assert world.clean()
    await training.stop(opaque)


async def test_a_version_deleted_during_training_is_not_published(world: World) -> None:
    await world.add_edits()

    async def delete(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.database.write(versions.delete, ANN, 1)

    with pytest.raises(AttuneError):
        await world.training(delete)(await world.job())
    assert (await world.version()).state == "deleted"
    assert (await world.user()).active_adapter == 0
    assert not Directories(world.root).path((await world.user()).opaque_id, 1).exists()


async def test_who_lost_the_lease_publishes_nothing(world: World) -> None:
    await world.add_edits()
    await world.database.write(versions.queue, ANN)
    late = await world.lease(seconds=0.01)
    await asyncio.sleep(0.05)

    async def overtaken(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.lease()

    with pytest.raises(LostLease):
        await world.training(overtaken)(late)
    assert (await world.version()).state == "training"
    assert (await world.user()).active_adapter == 0


async def test_what_killed_workers_left_goes_with_the_next_attempt(world: World) -> None:
    world.host.answer = worse
    await world.add_edits()
    opaque = (await world.user()).opaque_id
    published = Directories(world.root).path(opaque, 1)
    published.mkdir(parents=True)  # moved into its place, then killed before the commit
    (published / "manifest.json").write_text("{}")
    Directories(world.root).stage(opaque, 1)
    await world.training()(await world.job())
    assert (await world.version()).state == "refused"
    assert not published.exists()
    assert world.clean()


async def test_a_worker_killed_after_its_publication_leaves_no_texts(world: World) -> None:
    await world.add_edits()
    job = await world.job()
    await world.training()(job)
    directories, opaque = Directories(world.root), (await world.user()).opaque_id
    directories.stage(opaque, 1)
    other = directories.stage(opaque, 12)
    await world.training()(job)
    assert list((world.root / ".staging").iterdir()) == [other]
    assert directories.manifest(opaque, 1).version == 1


async def test_a_job_given_up_leaves_no_files(world: World) -> None:
    await world.add_edits()
    opaque = (await world.user()).opaque_id
    job = await world.job()
    published = Directories(world.root).path(opaque, 1)
    published.mkdir(parents=True)
    Directories(world.root).stage(opaque, 1)
    await world.training().on_failed(job, "the worker stopped 5 times while the job ran")
    assert (await world.version()).state == "failed"
    assert not published.exists()
    assert world.clean()


async def test_a_job_given_up_after_its_publication_takes_nothing_back(world: World) -> None:
    await world.add_edits()
    job = await world.job()
    await world.training()(job)
    before = await world.version()
    await world.training().on_failed(job, "the worker stopped 5 times while the job ran")
    assert await world.version() == before
    assert (await world.user()).active_adapter == 1
    assert Directories(world.root).manifest((await world.user()).opaque_id, 1).version == 1


class SlowToPublish(Database):
    """A store in which a publication takes its time, and says when it has begun."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.publishing = threading.Event()

    async def write(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def slow(c: Any, *rest: Any) -> Any:
            if fn is runs.publish:
                self.publishing.set()
                time.sleep(0.3)
            return fn(c, *rest, **kwargs)

        return await super().write(slow, *args)


async def test_a_publication_under_way_is_finished_by_who_is_told_to_stop(world: World, database_url: str) -> None:
    await world.add_edits()
    job = await world.job()
    slow = SlowToPublish(database_url)
    world.database, opened = slow, world.database
    running = asyncio.create_task(world.training()(job))
    await until(slow.publishing.is_set, pause=0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    world.database = opened
    slow.close()
    assert (await world.version()).state == "ready"
    opaque = (await world.user()).opaque_id
    assert sorted(file.name for file in Directories(world.root).path(opaque, 1).iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    assert world.clean()


async def test_cancelling_ends_the_trainer_and_cleans_up(world: World) -> None:
    await world.add_edits()
    pids = world.root.parent / "pids"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(60)"
    )

    async def slow(directory: Path, seconds: float) -> None:
        await run_command([sys.executable, "-c", script, str(pids)], directory, seconds)

    running = asyncio.create_task(world.training(slow)(await world.job()))
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2, pause=0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in map(int, pids.read_text().split()):
        await until(partial(_gone, pid), pause=0.02)
    assert world.clean()


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z" or not os.path.exists(f"/proc/{pid}")


async def _running(world: World) -> Job:
    """The user's running train job, as its holder knows it."""
    from sqlalchemy import Connection, select

    from store.tables import jobs as table

    def find(c: Connection) -> Job:
        row = c.execute(select(table).where(table.c.kind == "train", table.c.state == "running")).one()
        return Job(ANN, row.id, row.kind, row.subject, row.attempt, row.fence)

    return await world.database.read(find)
