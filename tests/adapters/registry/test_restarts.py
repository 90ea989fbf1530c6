"""An engine that restarts has lost its adapters: what it lost is dropped, and nothing else."""

import asyncio
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.registry.registry import Registry
from store.errors import EngineUnavailable
from tests.adapters.fakes import FakeHost, until
from tests.adapters.registry.conftest import World, make_version


async def test_an_engine_restart_empties_the_registry(world: World) -> None:
    user = world.user("ann", 1, active=1)
    world.rows[user.owner] = make_version(1)
    await world.registry.activate(user, make_version(1))
    before = world.registry.acquire(user)
    world.host.names.clear()
    world.registry.reset()
    assert world.registry.acquire(user).name is None
    await until(lambda: world.serves(user) == 1)
    world.registry.release(before)
    assert "opaque-ann.v1" in world.host.names


async def test_only_what_the_engine_lost_is_dropped(world: World) -> None:
    ann, ben = world.user("ann", 1, active=1), world.user("ben", 1, active=1)
    for user in (ann, ben):
        world.rows[user.owner] = make_version(1)
        await world.registry.activate(user, make_version(1))
    before = world.registry.acquire(ann)
    await world.host.unload("opaque-ann.v1")  # as another server does that swaps this user
    await world.registry.reconcile()
    assert world.registry.acquire(ben).version == 1
    assert world.serves(ann) == 0
    await until(lambda: world.serves(ann) == 1)
    world.registry.release(before)
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-ben.v1"}


async def test_all_are_dropped_when_the_engine_has_none(world: World) -> None:
    ann, ben = world.user("ann", 1, active=1), world.user("ben", 1, active=1)
    for user in (ann, ben):
        await world.registry.activate(user, make_version(1))
    world.host.names.clear()
    await world.registry.reconcile()
    assert (world.serves(ann), world.serves(ben), world.registry.loaded) == (0, 0, 0)


async def test_what_is_loaded_while_the_engine_is_asked_is_not_dropped(tmp_path: Path) -> None:
    world = World(tmp_path)
    user = world.user("ann", 1, active=1)
    listed, go_on = asyncio.Event(), asyncio.Event()

    class SlowToTell(FakeHost):
        async def loaded(self) -> set[str]:
            names = await super().loaded()
            if not listed.is_set():
                listed.set()
                await go_on.wait()
            return names

    registry = Registry(SlowToTell(), Directories(tmp_path), capacity=2, version_of=world.version_of)
    asking = asyncio.create_task(registry.reconcile())
    await listed.wait()
    await registry.activate(user, make_version(1))
    go_on.set()
    await asking
    assert registry.acquire(user).version == 1


async def test_a_restart_during_a_load_is_no_success(tmp_path: Path) -> None:
    world = World(tmp_path, ticks=20)
    user = world.user("ann", 1, active=1)
    loading = asyncio.create_task(world.registry.activate(user, make_version(1)))
    await until(lambda: bool(world.host.names))
    world.registry.reset()
    with pytest.raises(EngineUnavailable, match="restarted"):
        await loading
    assert world.registry.acquire(user).name is None
