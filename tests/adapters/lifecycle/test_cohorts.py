"""Cohorts: who is in one, who begins from one, and what an erasure ends."""

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, update

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.errors import TrainingFailed
from adapters.lifecycle import activation, cohorts, versions
from adapters.lifecycle.activation import Policy
from adapters.objective import Objective
from adapters.training.cohort_job import ALIKE, MAX_MEMBERS, Cohorts, centre, groups
from adapters.training.job import Training
from adapters.training.trainer import FIGURES, PARENT, TrainingJob
from preference import preferences
from preference.feedback import edit_rows
from preference.ports import Vectors
from store import erasures, jobs, turns, users
from store.database import Database
from store.owner import Owner
from store.tables import cohort_members
from tests.adapters.fakes import ANSWER, TINY_RECIPE, FakeHost, Trained, make_turn
from tests.preference.helpers import submit

NAMES = ("ann", "bob", "eva", "leo")
TERSE, FORMAL = "Answer in one short line", "Write long and formal letters"


class TwoTastes:
    """Texts of two kinds, at right angles."""

    name = "two"
    dimension = 2

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.asarray([[1, 0] if text == TERSE else [0, 1] for text in texts], dtype=np.float32)


@dataclass
class World:
    database: Database
    directories: Directories
    trained: Trained
    broken: bool = False
    given: list[tuple[TrainingJob, list[str], bool]] = field(default_factory=list)

    async def add(self, tenant: str, user: str, taste: str = TERSE, edits: int = 12) -> Owner:
        owner = Owner(tenant, user)
        await self.database.write(users.ensure, owner)
        await self.database.write(preferences.create, owner, taste, "stated")
        for number in range(edits):
            await self.database.write(turns.record, owner, make_turn(number))
            edited = f"{ANSWER} {user}"
            await self.database.write(submit, owner, completion_id=f"c-{number}", edited_text=edited, body_sha256="x")
        return owner

    async def trainer(self, directory: Path, seconds: float) -> None:
        lines = await asyncio.to_thread((directory / "train.jsonl").read_text)
        texts = [json.loads(line)["completion"][0]["content"] for line in lines.splitlines()]
        self.given.append((TrainingJob.read(directory), texts, PARENT in os.listdir(directory)))
        if self.broken:
            raise TrainingFailed("out of memory")
        shutil.copytree(self.trained.adapter, directory / "adapter")
        shutil.copy(self.trained.directory / FIGURES, directory)

    def went_on(self) -> tuple[bool, bool]:
        """Whether the last training was told to go on from an adapter, and whether it was given one."""
        job, _, given = self.given[-1]
        return job.recipe.objective.continued, given

    def cohorts(self, *tenants: str) -> Cohorts:
        return Cohorts(
            self.database,
            self.directories,
            TwoTastes(),
            tenants=tenants or ("acme",),
            base_model=str(self.trained.base),
            recipe=TINY_RECIPE,
            run_trainer=self.trainer,
        )

    def copied(self) -> Path:
        """The trained adapter, to be published."""
        return Path(shutil.copytree(self.trained.adapter, self.directories.stage("x", 0) / "adapter"))

    async def train(self, owner: Owner, made: Cohorts, objective: Objective | None = None) -> versions.Version:
        """The user's next version, from the queue to its end."""
        host = FakeHost(lambda model, _: f"{ANSWER} {owner.user}" if model else "I do not know.")
        number = await self.database.write(versions.queue, owner)
        job = await self.database.write(jobs.lease, ["train"], 60)
        assert job is not None
        assert job.owner == owner
        training = Training(
            self.database,
            host,
            self.directories,
            base_model=str(self.trained.base),
            recipe=replace(TINY_RECIPE, objective=objective or Objective()),
            run_trainer=self.trainer,
            beginning=made.beginning,
        )
        await training(job)
        await self.database.write(jobs.finish, job)
        return await self.database.read(versions.get, owner, number)

    def staged(self) -> list[str]:
        return os.listdir(self.directories.root / ".staging")


@pytest.fixture
def world(database: Database, tmp_path: Path, trained: Trained) -> World:
    return World(database, Directories(tmp_path / "adapters"), trained)


async def test_a_cohort_learns_alike_from_each_member_and_from_nobody_else(world: World) -> None:
    for edits, user in enumerate(NAMES[:3], start=10):
        await world.add("acme", user, edits=edits)
    await world.add("acme", "zoe", FORMAL)
    await world.add("acme", "tim", edits=7)
    await world.add("zeta", "ann")
    (cohort,) = await world.cohorts().gather("acme")
    ((job, texts, _),) = world.given
    assert job.recipe.objective.name == "sft"
    counts = {user: texts.count(f"{ANSWER} {user}") for user in NAMES[:3]}
    assert sum(counts.values()) == len(texts)
    assert set(counts.values()) == {10 - 4}  # what the one with fewest edits has beside those held out
    manifest = world.directories.verified(cohort, 1)
    assert manifest.learned_from == []
    assert manifest.report == {"members": 3}
    assert not world.staged()
    assert await world.cohorts().gather("acme") == []
    assert await world.cohorts("zeta").gather("zeta") == []


async def test_a_new_user_who_prefers_alike_begins_from_it_once(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    made = world.cohorts("acme", "zeta")
    (cohort,) = await made.gather("acme")
    new = await world.add("acme", "new")
    first = await world.train(new, made)
    assert first.state == "ready", first.report
    assert world.went_on() == (True, True)
    await world.train(new, made)  # the next version does not
    assert world.went_on() == (False, False)
    for tenant, user, taste in (("acme", "other", FORMAL), ("zeta", "new", TERSE)):
        await world.train(await world.add(tenant, user, taste), made)
        assert not world.went_on()[1]
    teacher = Owner("acme", "ann")
    assert await made.beginning(teacher, 1) is None
    assert await world.cohorts("zeta").beginning(await world.add("acme", "late"), 1) is None
    assert await world.database.read(cohorts.taught_by, teacher) == [cohort]


async def test_who_has_an_imported_version_begins_from_it_as_well(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    made = world.cohorts()
    await made.gather("acme")
    new = await world.add("acme", "new")

    def rows(c: Any) -> str:
        activation.activate(c, new, versions.take_in(c, new, []))
        return versions.lock_user(c, new).opaque_id

    opaque_id = await world.database.write(rows)
    world.directories.publish(world.copied(), opaque_id, Manifest(1, [], "", {}, {}, {}, 0.0))
    await world.train(new, made, Objective(continued=True))
    assert world.went_on() == (True, True)


async def test_erasing_a_teacher_ends_the_cohort_and_trains_who_began_from_it_anew(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    made = world.cohorts()
    (cohort,) = await made.gather("acme")
    new, bystander = await world.add("acme", "new"), await world.add("acme", "other", FORMAL)
    for owner in (new, bystander):
        assert (await world.train(owner, made)).state == "ready"
    assert await world.database.write(cohorts.leave, Owner("acme", "bob")) == [cohort]
    assert await world.database.read(erasures.among, {cohort}) == {cohort}
    held = await world.database.read(versions.all_of, new)
    assert [version.state for version in held] == ["deleted", "queued"]
    learner = await world.database.read(users.get, new)
    assert learner is not None
    assert learner.active_adapter == 0
    assert [version.state for version in await world.database.read(versions.all_of, bystander)] == ["ready"]
    assert await world.database.read(cohorts.of_tenant, "acme") == {}
    assert await world.database.write(cohorts.leave, new) == []


async def test_erasing_one_edit_of_a_teacher_ends_the_cohort_too(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    (cohort,) = await world.cohorts().gather("acme")
    ann = Owner("acme", "ann")
    edit = (await world.database.read(edit_rows.edits, ann))[0]
    thumb = await world.database.write(lambda c: submit(c, ann, completion_id="c-0", thumb="up", body_sha256="x"))
    await world.database.write(activation.erase_feedback, ann, thumb.id, Policy())
    assert await world.database.read(erasures.among, {cohort}) == set(), "a thumb taught it nothing"
    await world.database.write(activation.erase_feedback, ann, edit.feedback_id, Policy())
    assert await world.database.read(erasures.among, {cohort}) == {cohort}
    assert await world.database.read(cohorts.of_tenant, "acme") == {}


async def test_a_version_in_the_making_is_given_up_with_its_cohort(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    made = world.cohorts()
    (cohort,) = await made.gather("acme")
    new = await world.add("acme", "new")
    number = await world.database.write(versions.queue, new)
    job = await world.database.write(jobs.lease, ["train"], 60)
    assert job is not None
    assert await made.beginning(new, number) == cohort
    await world.database.write(cohorts.leave, Owner("acme", "bob"))
    with pytest.raises(jobs.LostLease):
        await world.database.write(jobs.hold, job)
    assert [v.state for v in await world.database.read(versions.all_of, new)] == ["failed", "queued"]
    assert not await world.database.write(cohorts.follow, new, cohort, 2)


@pytest.mark.parametrize("ends_first", [True, False])
async def test_who_begins_while_the_cohort_ends_begins_from_nothing_or_is_trained_anew(
    database: Database, ends_first: bool
) -> None:
    owners = [Owner("acme", user) for user in NAMES]
    for owner in owners:
        await database.write(users.ensure, owner)
    new = owners.pop()
    await database.write(cohorts.found, owners, "shared")
    written = threading.Event()

    def slowly(c: Connection, change: Callable[[Connection], Any]) -> Any:
        made = change(c)
        written.set()
        time.sleep(0.5)  # before the commit
        return made

    def end(c: Connection) -> list[Owner]:
        return cohorts.dissolve(c, "acme", "shared")

    def begin(c: Connection) -> bool:
        return cohorts.follow(c, new, "shared", 1)

    first, second = (end, begin) if ends_first else (begin, end)
    writing = asyncio.create_task(asyncio.to_thread(database.write_now, slowly, first))
    await asyncio.to_thread(written.wait)
    told = await asyncio.to_thread(database.write_now, second)
    assert (await writing, told) == (([], False) if ends_first else (True, [new]))
    assert await database.read(cohorts.of, new) == []


async def test_a_member_erased_while_it_is_made_leaves_nothing(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    trainer = world.trainer

    async def erased(directory: Path, seconds: float) -> None:
        await trainer(directory, seconds)
        await world.database.write(cohorts.leave, Owner("acme", "bob"))
        await world.database.write(users.delete, Owner("acme", "bob"))

    world.trainer = erased  # type: ignore[method-assign]
    assert await world.cohorts().gather("acme") == []
    assert os.listdir(world.directories.root) == [".staging"]
    assert not world.staged()
    assert await world.database.read(cohorts.of_tenant, "acme") == {}


async def test_a_trainer_that_fails_leaves_its_members_free(world: World) -> None:
    for user in NAMES[:3]:
        await world.add("acme", user)
    world.broken = True
    assert await world.cohorts().gather("acme") == []
    assert await world.database.read(cohorts.of_tenant, "acme") == {}
    assert not world.staged()
    world.broken = False
    assert len(await world.cohorts().gather("acme")) == 1


async def test_what_a_killed_worker_left_unmade_for_a_day_is_dissolved(world: World) -> None:
    owners = [await world.add("acme", user) for user in NAMES[:3]]
    await world.database.write(cohorts.found, owners, "left-behind")
    assert await world.cohorts().gather("acme") == []
    old = update(cohort_members).values(created_at=time.time() - 90_000)
    await world.database.write(lambda c: c.execute(old))
    (cohort,) = await world.cohorts().gather("acme")
    assert cohort != "left-behind"


def test_groups_are_of_those_who_prefer_alike_and_never_small_or_large() -> None:
    def at(degrees: float) -> Vectors:
        return np.asarray([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)

    owners = [Owner("acme", f"user {i:02}") for i in range(40)]
    close = {owner: at(0.1 * i) for i, owner in enumerate(owners[:20])}
    apart = {owner: at(90 + 45 * (i % 4)) for i, owner in enumerate(owners[20:26])}
    found = groups({**close, **apart})
    assert [len(group) for group in found] == [MAX_MEMBERS, 20 - MAX_MEMBERS]
    assert all(owner in close for group in found for owner in group)
    middle = centre([close[owner] for owner in found[0]])
    assert all(float(close[owner] @ middle) >= ALIKE for owner in found[0])
    assert abs(float(np.linalg.norm(middle)) - 1) < 1e-6
    assert groups({}) == []
