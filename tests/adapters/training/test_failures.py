"""A trainer or an engine that fails: what the report says, and what is tried again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.errors import TrainingFailed
from adapters.training.job import Training
from store.errors import AttuneError, EngineUnavailable
from store.message import Message
from store.users import User
from tests.adapters.fakes import ANSWER, TINY_RECIPE
from tests.adapters.training.conftest import World


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
