"""Who goes together, who goes alone, and that nobody's failure or end is another's."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.validation import validate
from adapters.errors import TrainingFailed
from adapters.lifecycle import versions
from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training.allowance import Allowance
from adapters.training.batch.scheduler import BatchScheduler, run_batched
from adapters.training.job import Training
from adapters.training.trainer import FIGURES, TrainingJob
from bench.training_users import TrainingUser
from store import turns, users
from store.database import Database
from store.owner import Owner
from store.worker import Worker
from tests.adapters.fakes import ANSWER, TINY_RECIPE, FakeHost, Trained, make_turn, until
from tests.preference.helpers import submit

SFT = TrainingJob("base", Recipe())
DPO = TrainingJob("base", Recipe(objective=Objective("dpo")))


@dataclass
class Programs:
    """Trainers that note whom they are given. ``many`` trains those not in ``refused``; nobody ends before ``go``."""

    root: Path
    refused: set[str] = field(default_factory=set)
    broken: bool = False
    go: asyncio.Event = field(default_factory=asyncio.Event)
    runs: list[tuple[str, list[str]]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def directory(self, name: str, job: TrainingJob = SFT) -> Path:
        directory = self.root / name
        directory.mkdir()
        job.write(directory)
        return directory

    async def many(self, directories: Sequence[Path], seconds: float) -> None:
        await self.run("many", directories)
        for directory in directories:
            if directory.name not in self.refused:
                (directory / FIGURES).write_text("{}")
        if self.broken:
            raise TrainingFailed("out of memory")

    async def alone(self, directory: Path, seconds: float) -> None:
        await self.run("alone", [directory])
        if directory.name == "bad":
            raise TrainingFailed("bad data")

    async def run(self, what: str, directories: Sequence[Path]) -> None:
        self.runs.append((what, [directory.name for directory in directories]))
        try:
            await self.go.wait()
        finally:
            await asyncio.sleep(0)
            self.ended.append(what)

    def scheduler(self, **settings: Any) -> BatchScheduler:
        return BatchScheduler(**{"alone": self.alone, "many": self.many, "settle_seconds": 0.1, **settings})

    def ask(self, scheduler: BatchScheduler, name: str, job: TrainingJob = SFT) -> "asyncio.Task[None]":
        directory = self.directory(name, job)

        async def call() -> None:
            await scheduler(directory, 60)

        return asyncio.create_task(call())


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


async def test_those_who_wait_share_a_program_and_the_others_the_next(programs: Programs) -> None:
    scheduler = programs.scheduler(at_once=3)
    programs.go.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(programs.ask(scheduler, name) for name in "abcd"))
    assert programs.runs == [("many", ["a", "b", "c"]), ("many", ["d"])]


async def test_only_what_mixes_shares_a_program(programs: Programs) -> None:
    scheduler = programs.scheduler()
    programs.go.set()
    other_base, slower = TrainingJob("another", Recipe()), TrainingJob("base", Recipe(learning_rate=1e-5, seed=3))
    asked = {"a": DPO, "b": SFT, "c": other_base, "d": slower, "e": DPO}
    async with asyncio.timeout(10):
        await asyncio.gather(*(programs.ask(scheduler, name, job) for name, job in asked.items()))
    assert programs.runs == [("alone", ["a"]), ("many", ["b", "d"]), ("many", ["c"]), ("alone", ["e"])]


@pytest.mark.parametrize("broken", [False, True])
async def test_whom_the_program_leaves_is_trained_alone_and_fails_alone(programs: Programs, broken: bool) -> None:
    programs.refused, programs.broken = {"bad", "odd"}, broken
    scheduler = programs.scheduler()
    programs.go.set()
    async with asyncio.timeout(10):
        calls = [programs.ask(scheduler, name) for name in ("good", "bad", "odd", "fine")]
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert programs.runs == [("many", ["good", "bad", "odd", "fine"]), ("alone", ["bad"]), ("alone", ["odd"])]
    assert [str(end) for end in ends] == ["None", "bad data", "None", "None"]


async def test_without_many_each_goes_alone_one_at_a_time(programs: Programs) -> None:
    scheduler = programs.scheduler(many=None)
    programs.go.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*(programs.ask(scheduler, name) for name in "ab"))
    assert programs.runs == [("alone", ["a"]), ("alone", ["b"])]
    assert scheduler.jobs_at_once == 2


async def test_who_is_trained_goes_on_before_the_others(programs: Programs) -> None:
    scheduler = programs.scheduler()
    first, second = programs.ask(scheduler, "a"), programs.ask(scheduler, "b")
    await until(lambda: bool(programs.runs), pause=0.01)
    (programs.root / "a" / FIGURES).write_text("{}")
    async with asyncio.timeout(5):
        await first
    assert not second.done()
    programs.go.set()
    async with asyncio.timeout(5):
        await second


async def test_the_last_one_who_is_cancelled_ends_the_program_before_the_call_ends(programs: Programs) -> None:
    scheduler = programs.scheduler()
    calls = [programs.ask(scheduler, name) for name in "ab"]
    await until(lambda: bool(programs.runs), pause=0.01)
    for call, ended in zip(calls, ([], ["many"]), strict=True):
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert programs.ended == ended
    programs.go.set()
    async with asyncio.timeout(5):
        await programs.ask(scheduler, "c")
    assert programs.runs == [("many", ["a", "b"]), ("many", ["c"])]


async def test_who_is_cancelled_while_waiting_is_not_trained(programs: Programs) -> None:
    scheduler = programs.scheduler(at_once=1)
    first, second = programs.ask(scheduler, "a"), programs.ask(scheduler, "b")
    await until(lambda: bool(programs.runs), pause=0.01)
    second.cancel()
    await asyncio.wait((second,))
    programs.go.set()
    async with asyncio.timeout(5):
        await first
    assert programs.runs == [("many", ["a"])]


async def test_ready_while_there_is_room_and_time(programs: Programs) -> None:
    allowance = Allowance(seconds_per_hour=0.001)
    scheduler = programs.scheduler(at_once=2, allowance=allowance)
    assert scheduler.ready()
    first = programs.ask(scheduler, "a")
    await until(lambda: bool(scheduler._waiting))
    assert scheduler.ready()
    await until(lambda: bool(programs.runs), pause=0.01)
    assert not scheduler.ready()
    await asyncio.sleep(0.01)
    programs.go.set()
    await first
    await until(lambda: scheduler._program is None)
    assert not allowance.open()
    assert not scheduler.ready()


async def test_the_queue_trains_its_users_at_once_each_to_an_end_of_their_own(
    database: Database, tmp_path: Path, trained: Trained, programs: Programs
) -> None:
    """Two are published, one is erased meanwhile, one's adapter is invalid, and one has a recipe of another kind."""
    adapters, host = tmp_path / "adapters", FakeHost(lambda model, _: ANSWER if model else "I do not know.")
    owners = {name: Owner("acme", name) for name in ("ann", "bob", "eva", "leo")} | {"zoe": Owner("zeta", "zoe")}
    opaque = {}
    for name, owner in owners.items():
        opaque[name] = (await database.write(users.ensure, owner)).opaque_id
        for number in range(12):
            await database.write(turns.record, owner, make_turn(number))
            id = f"c-{number}"
            await database.write(submit, owner, completion_id=id, edited_text=ANSWER, body_sha256="x")
        await database.write(versions.queue, owner)

    async def many(directories: Sequence[Path], seconds: float) -> None:
        await programs.run("many", directories)
        for directory in directories:
            if directory.exists():
                await copy(directory, seconds)

    async def copy(directory: Path, seconds: float) -> None:
        shutil.copytree(trained.adapter, directory / "adapter")
        if directory.name.startswith(opaque["leo"]):
            (directory / "adapter" / "adapter_config.json").write_text("{}")
        shutil.copy(trained.directory / FIGURES, directory)

    scheduler = BatchScheduler(alone=copy, many=many, settle_seconds=1)
    objectives = {"zeta": Objective("dpo")}
    training = Training(
        database, host, Directories(adapters), base_model=str(trained.base), recipe=TINY_RECIPE, objectives=objectives,
        run_trainer=scheduler,
    )  # fmt: skip
    worker = Worker(
        database, {"train": training}, concurrency=scheduler.jobs_at_once, ready=scheduler.ready,
        on_failed=training.on_failed, poll_seconds=0.02,
    )  # fmt: skip
    working = asyncio.create_task(worker.run())
    await until(lambda: bool(programs.runs), pause=0.02)
    assert len(programs.runs[0][1]) == 4
    await database.write(users.delete, owners["eva"])
    await training.stop(opaque["eva"])
    assert not list(adapters.glob(f".staging/{opaque['eva']}*"))
    programs.go.set()

    def states() -> dict[str, str]:
        held = {name: owner for name, owner in owners.items() if name != "eva"}
        return {name: database.read_now(versions.get, owner, 1).state for name, owner in held.items()}

    await until(lambda: states() == {"ann": "ready", "bob": "ready", "leo": "failed", "zoe": "ready"}, pause=0.05)
    working.cancel()
    await asyncio.wait((working,))
    assert [len(names) for _, names in programs.runs] == [4]
    assert {path.name for path in adapters.iterdir()} == {".staging", *(opaque[name] for name in ("ann", "bob", "zoe"))}
    assert not list((adapters / ".staging").iterdir())
    assert not host.names


async def test_real_programs_train_many_and_fall_back_for_one(tiny_base: Path, tmp_path: Path) -> None:
    """Three users, of whom one has no row that fits: two are trained at once, the third's error is the trainer's."""
    recipe = Recipe(rank=4, learning_rate=1e-2, min_steps=4, max_steps=4, batch_size=4, threads=1, niceness=0)
    names = {"ann": recipe, "bob": recipe, "leo": replace(recipe, max_tokens=5)}
    for seed, (name, its) in enumerate(names.items()):
        TrainingUser(seed, edits=10).write(tmp_path / name, TrainingJob(str(tiny_base), its))
    scheduler = BatchScheduler(settle_seconds=1)
    ends = await asyncio.gather(*(scheduler(tmp_path / name, 200) for name in names), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), type(None), TrainingFailed]
    for name in ("ann", "bob"):
        validate(tmp_path / name / "adapter", tiny_base, recipe)
        assert json.loads((tmp_path / name / FIGURES).read_text())["users"] == 2
    assert set(os.listdir(tmp_path)) == set(names)


async def test_a_killed_program_leaves_nobody_without_an_adapter(tiny_base: Path, tmp_path: Path) -> None:
    recipe = Recipe(rank=4, learning_rate=1e-2, min_steps=4, max_steps=4, batch_size=4, threads=1, niceness=0)
    directory = tmp_path / "ann"
    TrainingUser(0, edits=10).write(directory, TrainingJob(str(tiny_base), recipe))

    async def killed(directories: Sequence[Path], seconds: float) -> None:
        raise TrainingFailed(f"the trainer failed with status {-signal.SIGKILL}")

    await BatchScheduler(many=killed, settle_seconds=0)(directory, 200)
    validate(directory / "adapter", tiny_base, recipe)
    with pytest.raises(TrainingFailed, match="longer than 0 s"):
        await run_batched([directory], 0.01)
    assert os.listdir(tmp_path) == ["ann"]
