"""What is trained on, what the gate compares, and what becomes of its verdict."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.errors import TrainingFailed
from adapters.lifecycle import versions
from adapters.lifecycle.activation import Policy
from adapters.objective import Name, Objective
from adapters.training.trainer import PARENT, TrainingJob
from preference.feedback import edit_rows
from preference.feedback.given import UpOrDown
from store import jobs, turns, users
from store.errors import EngineUnavailable, Invalid
from store.message import Message
from tests.adapters.evaluation.test_instructions import RIGHT
from tests.adapters.fakes import ANSWER, FakeHost, make_turn
from tests.adapters.training.conftest import ANN, EDITS, World, better, worse
from tests.adapters.training.test_interruptions import _running
from tests.preference.helpers import submit


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
        made = await world.database.write(submit, ANN, completion_id=f"c-{100 + number}", thumb=thumb, body_sha256="x")
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
    edits = [edit.feedback_id for edit in await world.database.read(edit_rows.edits, ANN)][:-4]
    learned = await world.database.read(versions.learned_from, ANN)
    assert learned == {1: frozenset([*edits, *learned_thumbs])}
    manifest = Directories(world.root).manifest((await world.user()).opaque_id, 1)
    assert manifest.learned_from == [*edits, *learned_thumbs]


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
    edits = await world.database.read(edit_rows.edits, ANN)
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
        found.append({path.name: path.read_bytes() for path in (directory / PARENT).glob("*")})
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
