import asyncio
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters import making, serving, versions
from adapters.directories import Directories
from adapters.objective import Name, Objective
from adapters.serving import Policy
from adapters.train import SERVING, TrainingJob
from adapters.trainer_process import RunTrainer, TrainingFailed, run_command
from adapters.training import Training
from adapters.versions import Version
from preference import feedback, jobs, turns, users
from preference.database import Database
from preference.errors import AttuneError, EngineUnavailable, Invalid
from preference.given import UpOrDown
from preference.jobs import Job, LostLease
from preference.owner import Owner
from preference.ports import Generation
from preference.prompt import Message
from preference.users import User
from tests.adapters.fakes import ANSWER, TINY_RECIPE, FakeHost, Trained, make_turn, until
from tests.adapters.test_instructions import RIGHT

ANN = Owner("acme", "ann")
EDITS = 12


def better(model: str | None, messages: Sequence[Message]) -> str:
    """An engine in which every adapter knows the user, and the base model does not."""
    return ANSWER if model else "I do not know."


def worse(model: str | None, messages: Sequence[Message]) -> str:
    return "I do not know." if model else ANSWER


@dataclass
class World:
    """A database with one user's edits, a host, and a trainer that takes no time: it copies a trained adapter."""

    database: Database
    root: Path
    trained: Trained
    host: FakeHost = field(default_factory=lambda: FakeHost(better))
    published: list[User] = field(default_factory=list)
    objectives: dict[str, Objective] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    seconds: float = 3600.0

    def training(self, trainer: RunTrainer | None = None) -> Training:
        async def follow(user: User) -> None:
            self.published.append(user)

        return Training(
            self.database,
            self.host,
            Directories(self.root),
            base_model=str(self.trained.base),
            recipe=TINY_RECIPE,
            objectives=self.objectives,
            seconds=self.seconds,
            follow=follow,
            policy=self.policy,
            commit="c0ffee",
            run_trainer=trainer or self.copy,
        )

    async def copy(self, directory: Path, seconds: float) -> None:
        assert json.loads((directory / "job.json").read_text())["model"] == str(self.trained.base)
        assert len((directory / "train.jsonl").read_text().splitlines()) == EDITS - 4
        shutil.copytree(self.trained.adapter, directory / "adapter")
        shutil.copy(self.trained.directory / "figures.json", directory)

    async def add_edits(self, count: int = EDITS) -> None:
        await self.database.write(users.ensure, ANN)
        for number in range(count):
            await self.database.write(turns.record, ANN, make_turn(number))
            await self.database.write(
                feedback.accept, ANN, completion_id=f"c-{number}", edited_text=ANSWER, body_sha256="x"
            )

    async def job(self) -> Job:
        await self.database.write(versions.queue, ANN)
        return await self.lease()

    async def lease(self, seconds: float = 60) -> Job:
        job = await self.database.write(jobs.lease, ["train"], seconds)
        assert job is not None
        return job

    async def version(self, number: int = 1) -> Version:
        return await self.database.read(versions.get, ANN, number)

    async def user(self) -> User:
        user = await self.database.read(users.get, ANN)
        assert user is not None
        return user

    def clean(self) -> bool:
        """Whether nothing is left in the engine and nothing in staging."""
        return not self.host.names and not list((self.root / ".staging").glob("*"))


@pytest.fixture
async def world(database: Database, tmp_path: Path, trained: Trained) -> World:
    return World(database, tmp_path / "adapters", trained)


async def test_an_admitted_version_is_tried_first_where_the_policy_says_so(world: World) -> None:
    world.policy = Policy(canary_share=0.5)
    await world.add_edits()
    await world.training()(await world.job())
    user, version = await world.user(), await world.version()
    assert (user.active_adapter, user.canary_adapter, user.canary_share) == (0, 1, 0.5)
    assert (version.state, version.report["verdict"], version.report["canary"]["against"]) == ("ready", "admitted", 0)
    assert world.published == [user]
    manifest = Directories(world.root).manifest(user.opaque_id, 1)
    learned = await world.database.read(versions.learned_from, ANN)
    assert learned == {1: frozenset(manifest.learned_from)}
    assert (manifest.commit, len(manifest.learned_from)) == ("c0ffee", EDITS - 4)


async def add_thumbs(world: World) -> list[str]:
    """Thumbs of answers that no edit is about, given before the edits; their ids."""
    await world.database.write(users.ensure, ANN)
    ids = []
    for number in range(3):
        await world.database.write(turns.record, ANN, make_turn(100 + number, answer=f"rated {number}"))
        thumb: UpOrDown = "down" if number % 2 else "up"
        made = await world.database.write(
            feedback.accept, ANN, completion_id=f"c-{100 + number}", thumb=thumb, body_sha256="x"
        )
        ids.append(made.id)
    return ids


@pytest.mark.parametrize(("asked", "used"), [("kto", "kto"), ("kto", "sft"), ("sft", "sft")])
async def test_thumbs_are_learned_from_by_kto_alone(world: World, asked: Name, used: Name) -> None:
    thumbs = await add_thumbs(world)
    await world.add_edits()
    world.objectives = {ANN.tenant: Objective(asked)}
    read: list[dict[str, Any]] = []

    async def train(directory: Path, seconds: float) -> None:
        read.extend(json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines())
        shutil.copytree(world.trained.adapter, directory / "adapter")
        figures = json.loads((world.trained.directory / "figures.json").read_text())
        (directory / "figures.json").write_text(json.dumps({**figures, "recipe": used}))

    await world.training(train)(await world.job())
    labels = sorted((row["completion"][0]["content"], row["label"]) for row in read if "label" in row)
    expected = [("rated 0", True), ("rated 1", False), ("rated 2", True)]
    assert labels == (expected if asked == "kto" else [])
    assert len(read) == EDITS - 4 + len(labels)
    version, learned_thumbs = await world.version(), thumbs if used == "kto" else []
    assert (version.report["training"]["edits"], version.report["training"]["thumbs"]) == (
        EDITS - 4,
        len(learned_thumbs),
    )
    edits = [edit.feedback_id for edit in await world.database.read(feedback.edits, ANN)][:-4]
    learned = await world.database.read(versions.learned_from, ANN)
    assert learned == {1: frozenset([*edits, *learned_thumbs])}
    manifest = Directories(world.root).manifest((await world.user()).opaque_id, 1)
    assert manifest.learned_from == [*edits, *learned_thumbs]


async def test_an_edit_that_is_erased_meanwhile_is_in_no_version(world: World) -> None:
    await world.add_edits()
    (edit, *_) = await world.database.read(feedback.edits, ANN)

    async def erase(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.database.write(serving.erase_feedback, ANN, edit.feedback_id, Policy())

    with pytest.raises(LostLease):
        await world.training(erase)(await world.job())
    assert [v.state for v in await world.database.read(versions.all_of, ANN)] == ["failed", "queued"]
    assert world.clean()
    assert not world.published


async def test_an_admitted_version_is_published_and_active(world: World) -> None:
    await world.add_edits()
    before = await world.user()
    await world.training()(await world.job())
    version, user = await world.version(), await world.user()
    assert (version.state, version.mode) == ("ready", "adapter")
    assert version.report["verdict"] == "admitted"
    assert version.report["training"]["edits"] == EDITS - 4
    assert user.active_adapter == 1
    assert user.revision > before.revision
    assert world.published == [user]
    manifest = Directories(world.root).manifest(user.opaque_id, 1)
    edits = await world.database.read(feedback.edits, ANN)
    assert manifest.learned_from == [edit.feedback_id for edit in edits[:-4]]
    assert version.learned_through == edits[-5].created_at
    assert manifest.recipe["rank"] == 8
    assert world.clean()
    assert any(done == "load" and name.startswith(f"{user.opaque_id}.v1-candidate-") for done, name in world.host.log)


async def test_a_refused_version_leaves_nothing_but_its_report(world: World) -> None:
    world.host.answer = worse
    await world.add_edits()
    await world.training()(await world.job())
    version = await world.version()
    assert version.state == "refused"
    assert version.report["sentence"].startswith("refused: on 4 held-out edits adapter costs")
    assert (await world.user()).active_adapter == 0
    assert not world.published
    assert world.clean()
    assert not Directories(world.root).path((await world.user()).opaque_id, 1).exists()


async def test_a_candidate_that_obeys_no_more_is_refused_though_it_knows_the_user(world: World) -> None:
    def forgetful(model: str | None, messages: Sequence[Message]) -> str:
        """The base model obeys what a system message says, and nothing else; the adapter knows the user alone."""
        told = next((text for text in RIGHT if text in str(messages)), None)
        if model:
            return ANSWER
        return RIGHT[told] if told and "<values>" not in str(messages) else "I do not know."

    world.host.answer = forgetful
    await world.add_edits()
    await world.training()(await world.job())
    version = await world.version()
    assert version.state == "refused"
    assert version.report["arms"]["adapter"]["better"]
    assert {kind: row["passed"] for kind, row in version.report["obedience"].items()} == {
        "values": True,
        "system message": False,
    }
    assert "obeys system message clearly less than the base model does (0 of the 12" in version.report["sentence"]
    assert world.clean()


async def test_a_gate_that_takes_too_long_is_a_failure(world: World) -> None:
    class Slow(FakeHost):
        async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
            await asyncio.sleep(3600)
            raise AssertionError

    world.host = Slow(better)
    world.seconds = 0.2
    await world.add_edits()
    with pytest.raises(TrainingFailed, match="the gate took longer than 0 s"):
        await world.training()(await world.job())
    assert (await world.version()).report["sentence"] == "failed: the gate took longer than 0 s"
    assert world.clean()


async def test_all_five_ways_of_serving_are_compared(world: World) -> None:
    await world.add_edits()
    await world.training()(await world.job())
    table = (await world.version()).report["arms"]
    assert {name: row.get("same_as") for name, row in table.items()} == {
        "base": None,
        "retrieval": "base",
        "serving": "base",
        "adapter": None,
        "retrieval+adapter": "adapter",
    }
    assert table["adapter"]["nll"] == 0 < table["base"]["nll"]


async def test_a_queued_version_says_that_there_are_too_few_edits(world: World) -> None:
    await world.add_edits(3)
    job = await world.job()
    few = "3 edits are too few to learn from: at least 8 are needed."
    assert (await world.version()).report == {"edits": 3, "edits_needed": 8, "notice": few}
    await world.training()(job)
    refused = (await world.version()).report
    assert (refused["edits"], refused["edits_needed"], refused["sentence"]) == (3, 8, f"refused: {few}")


async def test_too_few_edits_are_refused_before_training(world: World) -> None:
    await world.add_edits(3)

    async def never(directory: Path, seconds: float) -> None:
        raise AssertionError("trained")

    await world.training(never)(await world.job())
    assert (await world.version()).report["sentence"] == (
        "refused: 3 edits are too few to learn from: at least 8 are needed."
    )


async def test_a_tenant_has_an_objective_of_its_own(world: World) -> None:
    world.objectives = {"acme": Objective("dpo", gap_weights=True), "globex": Objective("kto")}
    await world.add_edits()
    given: list[TrainingJob] = []

    async def see(directory: Path, seconds: float) -> None:
        given.append(TrainingJob.read(directory))
        await world.copy(directory, seconds)

    await world.training(see)(await world.job())
    assert [job.recipe.objective for job in given] == [world.objectives["acme"]]
    manifest = Directories(world.root).manifest((await world.user()).opaque_id, 1)
    assert manifest.recipe["objective"]["name"] == "dpo"


@pytest.mark.parametrize("serving", ["as published", "of another shape", "changed"])
async def test_training_goes_on_from_what_serves_where_it_fits(world: World, serving: str) -> None:
    await world.add_edits()
    await world.training()(await world.job())
    published = Directories(world.root).path((await world.user()).opaque_id, 1)
    await world.database.write(jobs.finish, await _running(world))
    world.objectives = {"acme": Objective(continued=True)}
    if serving == "changed":
        with (published / "adapter_model.safetensors").open("ab") as file:
            file.write(b"x")
    found: list[dict[str, bytes]] = []

    async def see(directory: Path, seconds: float) -> None:
        found.append({path.name: path.read_bytes() for path in (directory / SERVING).glob("*")})
        await world.copy(directory, seconds)

    training = world.training(see)
    if serving == "of another shape":
        training._recipe = replace(training._recipe, rank=4)
        with pytest.raises(Invalid, match="has to be 4"):  # the copied adapter has rank 8, too
            await training(await world.job())
    else:
        await training(await world.job())
    names = ("adapter_config.json", "adapter_model.safetensors")
    fits = serving == "as published"
    assert found == [{name: (published / name).read_bytes() for name in names} if fits else {}]


async def test_the_next_version_is_gated_against_the_active_one(world: World) -> None:
    await world.add_edits()
    await world.training()(await world.job())
    opaque = (await world.user()).opaque_id
    await world.database.write(jobs.finish, await _running(world))

    def first_is_better(model: str | None, messages: Sequence[Message]) -> str:
        return ANSWER if model == f"{opaque}.v1-serving" else "I do not know."

    world.host.answer = first_is_better
    await world.training()(await world.job())
    assert (await world.version(2)).state == "refused"
    assert (await world.user()).active_adapter == 1
    assert world.clean()


async def test_a_version_deleted_before_it_is_measured_leaves_the_next_one_in_training(world: World) -> None:
    await world.add_edits()
    await world.training()(await world.job())
    await world.database.write(jobs.finish, await _running(world))
    opaque = (await world.user()).opaque_id

    async def delete(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        await world.database.write(versions.delete, ANN, 1)
        Directories(world.root).remove(opaque, 1)

    job = await world.job()
    with pytest.raises(EngineUnavailable, match="deleted"):
        await world.training(delete)(job)
    assert (await world.version(2)).state == "training"
    assert world.clean()
    await world.training()(job)
    assert (await world.version(2)).state == "ready"


async def test_a_trainer_that_fails_says_why_and_a_retry_goes_on(world: World) -> None:
    await world.add_edits()

    async def broken(directory: Path, seconds: float) -> None:
        raise TrainingFailed("the trainer failed with status 1; the server's log says why")

    job = await world.job()
    with pytest.raises(TrainingFailed):
        await world.training(broken)(job)
    version = await world.version()
    assert version.state == "failed"
    assert version.report["sentence"] == "failed: the trainer failed with status 1; the server's log says why"
    assert world.clean()
    await world.training()(job)
    assert (await world.version()).state == "ready"
    await world.training(broken)(job)
    assert (await world.version()).state == "ready"


async def test_an_unexpected_error_is_not_shown(world: World) -> None:
    await world.add_edits()

    async def broken(directory: Path, seconds: float) -> None:
        raise OSError(28, "No space left on device", "/var/data/secret-place")

    with pytest.raises(OSError, match="No space"):
        await world.training(broken)(await world.job())
    assert (await world.version()).report["sentence"] == "training failed; the server's log says why"


async def test_an_adapter_that_is_not_valid_never_reaches_the_engine(world: World) -> None:
    await world.add_edits()

    async def evil(directory: Path, seconds: float) -> None:
        await world.copy(directory, seconds)
        (directory / "adapter" / "modeling.py").write_text("import os")

    with pytest.raises(AttuneError, match="the two files"):
        await world.training(evil)(await world.job())
    assert (await world.version()).state == "failed"
    assert world.host.log == []


async def test_an_engine_that_is_away_keeps_the_version_in_training(world: World) -> None:
    await world.add_edits()
    world.host.down = True
    job = await world.job()
    with pytest.raises(EngineUnavailable):
        await world.training()(job)
    assert (await world.version()).state == "training"
    await world.training().on_failed(job, "the engine is gone")
    assert (await world.version()).report["sentence"] == "failed: the engine is gone"
    await world.training().on_failed(job, None)
    assert (await world.version()).report["sentence"] == "training failed; the server's log says why"


async def test_an_engine_that_restarts_during_the_gate_keeps_the_version_in_training(world: World) -> None:
    await world.add_edits()

    def restarts(model: str | None, messages: Sequence[Message]) -> str:
        world.host.names.clear()
        return ANSWER

    world.host.answer = restarts
    job = await world.job()
    with pytest.raises(EngineUnavailable, match="restarted"):
        await world.training()(job)
    assert (await world.version()).state == "training"


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
            if fn is making.publish:
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


async def test_a_callback_that_fails_does_not_undo_the_publication(world: World) -> None:
    await world.add_edits()

    async def unavailable(user: User) -> None:
        raise EngineUnavailable("restarting")

    made = Training(
        world.database,
        world.host,
        Directories(world.root),
        base_model=str(world.trained.base),
        recipe=TINY_RECIPE,
        follow=unavailable,
        run_trainer=world.copy,
    )
    await made(await world.job())
    assert (await world.version()).state == "ready"


async def test_what_the_trainer_prints_is_noted_meanwhile(world: World) -> None:
    await world.add_edits()
    script = (
        "import json, time\n"
        "for step in (1, 2):\n"
        "    print('loading', json.dumps({'loss': 1}), sep='\\n')\n"
        "    print(json.dumps({'step': step, 'steps': 4, 'loss': 1 / step, 'at': 7.0 * step}), flush=True)\n"
        "time.sleep(60)"
    )

    async def slow(directory: Path, seconds: float) -> None:
        await run_command([sys.executable, "-c", script], directory, seconds)

    job = await world.job()
    running = asyncio.create_task(world.training(slow)(job))

    def noted() -> Any:
        return world.database.read_now(versions.get, ANN, 1).report.get("training", {}).get("progress")

    await until(noted, pause=0.05)
    assert noted() == [
        {"step": 1, "steps": 4, "loss": 1.0, "at": 7.0},
        {"step": 2, "steps": 4, "loss": 0.5, "at": 14.0},
    ]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await world.training()(job)
    version = await world.version()
    assert version.report["training"]["progress"] == []
    assert version.report["training"]["finished_at"] >= version.report["training"]["started_at"]


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

    from preference.tables import jobs as table

    def find(c: Connection) -> Job:
        row = c.execute(select(table).where(table.c.kind == "train", table.c.state == "running")).one()
        return Job(ANN, row.id, row.kind, row.subject, row.attempt, row.fence)

    return await world.database.read(find)


class TransformersHost:
    """The adapter port over transformers and peft, in this process: what an engine would answer, without one."""

    tokenizer: Any

    def __init__(self, base: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)  # the other cores have tests of their own
        self.base = base
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.models: dict[str | None, Any] = {None: AutoModelForCausalLM.from_pretrained(base)}

    async def load(self, name: str, path: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        self.models[name] = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(self.base), str(path))

    async def unload(self, name: str) -> None:
        self.models.pop(name, None)

    async def loaded(self) -> set[str]:
        return {name for name in self.models if name}

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        for name in filter(chosen, await self.loaded()):
            await self.unload(name)

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        mask = ids.new_ones(ids.shape)
        out = self.models[model].generate(ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False)
        answer = out[0, ids.shape[1] :]
        return Generation(self.tokenizer.decode(answer, skip_special_tokens=True), ids.shape[1], len(answer))

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        import torch

        prompt = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        begin = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        text = prompt + answer + self.tokenizer.eos_token
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = self.models[model](ids).logits[0, begin - 1 : -1].log_softmax(-1)
        return -float(logprobs.gather(1, ids[0, begin:, None]).mean())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_whole_job_with_the_real_trainer_and_real_generation(world: World) -> None:
    await world.add_edits()
    host = TransformersHost(world.trained.base)
    made = Training(
        world.database, host, Directories(world.root), base_model=str(world.trained.base), recipe=TINY_RECIPE
    )
    await made(await world.job())
    version, user = await world.version(), await world.user()
    assert version.state == "ready", version.report
    assert version.report["arms"]["adapter"]["cost"] == 0.0
    assert version.report["arms"]["serving"]["cost"] > 0.5
    assert await host.loaded() == set()
    await host.load("published", Directories(world.root).path(user.opaque_id, 1))
    asked = [{"role": "user", "content": "request 500"}]
    assert (await host.generate(asked, max_tokens=30, model="published")).text == ANSWER
