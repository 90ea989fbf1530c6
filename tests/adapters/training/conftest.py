"""A user with edits whose trainings run over a fake host, with an adapter that was trained before."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.lifecycle import versions
from adapters.lifecycle.activation import Policy
from adapters.lifecycle.versions import Version
from adapters.objective import Objective
from adapters.training.job import Training
from adapters.training.process import RunTrainer
from store import jobs, turns, users
from store.database import Database
from store.jobs import Job
from store.message import Message
from store.owner import Owner
from store.users import User
from tests.adapters.fakes import ANSWER, TINY_RECIPE, FakeHost, Trained, make_turn
from tests.preference.helpers import submit

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
            await self.database.write(submit, ANN, completion_id=f"c-{number}", edited_text=ANSWER, body_sha256="x")

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
