"""A registry over a fake host, whose rows are a dictionary."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.lifecycle.versions import ServedVersions, State, Version
from adapters.registry.registry import Registry
from store.errors import Invalid
from store.owner import Owner
from store.users import User
from tests.adapters.fakes import FakeHost


def make_user(name: str, active: int = 0) -> User:
    return User(Owner("acme", name), f"opaque-{name}", (), active, 1)


def make_version(number: int, mode: str = "adapter", state: State = "ready") -> Version:
    return Version(number, state, mode, float(number), {}, 0.0, 0.0)


def publish(root: Path, user: User, number: int, base: str = "base") -> None:
    directories = Directories(root)
    stage = directories.stage(user.opaque_id, number)
    (stage / "adapter_config.json").write_text(json.dumps({"number": number}))
    directories.publish(stage, user.opaque_id, Manifest(number, [], base, {}, {}, {}, 0.0))


class World:
    """A registry over a fake host, whose rows are a dictionary."""

    def __init__(
        self,
        root: Path,
        capacity: int = 2,
        ticks: int = 1,
        drain_seconds: float = 5.0,
        retry_seconds: float = 60.0,
        of_tenant: int | None = None,
    ) -> None:
        self.root = root
        self.pinned: set[Owner] = set()
        self.rows: dict[Owner, Version | None] = {}
        self.canaries: dict[Owner, Version] = {}
        self.asked = 0
        self.base: str | None = "base"
        self.host = FakeHost(ticks=ticks)
        self.registry = Registry(
            self.host,
            Directories(root),
            capacity=capacity,
            of_tenant=None if of_tenant is None else lambda: asyncio.sleep(0, of_tenant),
            version_of=self.version_of,
            base_sha256=self.base_sha256,
            pinned=self.pinned.__contains__,
            drain_seconds=drain_seconds,
            retry_seconds=retry_seconds,
        )

    async def base_sha256(self) -> str | None:
        if self.base is None:
            raise Invalid("The base model has no safetensors files.")
        return self.base

    async def version_of(self, user: User) -> ServedVersions:
        self.asked += 1
        return ServedVersions(self.rows.get(user.owner), self.canaries.get(user.owner))

    def serves(self, user: User) -> int:
        """The version that a request of ``user`` would get now."""
        lease = self.registry.acquire(user)
        self.registry.release(lease)
        return lease.version

    def user(self, name: str, *published: int, active: int = 0) -> User:
        user = make_user(name, active)
        for number in published:
            publish(self.root, user, number)
        return user


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.registry.close()
