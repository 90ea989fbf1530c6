"""What is erased or retired is unloaded after its last answer, and never comes back."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.lifecycle.versions import ServedVersions
from adapters.registry.registry import Registry
from store.errors import EngineUnavailable, NotFound
from tests.adapters.fakes import FakeHost, until
from tests.adapters.registry.conftest import World, make_user, make_version, publish


async def test_erasure_unloads_everything_and_nothing_comes_back(world: World) -> None:
    user = world.user("ann", 1, 2, active=2)
    await world.registry.activate(user, make_version(2))
    other = await world.registry.acquire_version(user, make_version(1))
    erasing = asyncio.create_task(world.registry.forget(user.opaque_id))
    await asyncio.sleep(0.02)
    assert "opaque-ann.v1" in world.host.names
    world.registry.release(other)
    await erasing
    assert not world.host.names
    with pytest.raises(NotFound):
        await world.registry.activate(user, make_version(2))
    assert not world.host.names


async def test_erasure_unloads_what_other_processes_left_and_nobody_elses(world: World) -> None:
    ann, anna = world.user("ann", 1, active=1), world.user("anna", 1, active=1)
    await world.registry.activate(anna, make_version(1))
    for name in ("opaque-ann.v1", "opaque-ann.v2-candidate"):
        await world.host.load(name, Directories(world.root).path("opaque-ann", 1))
    await world.registry.forget(ann.opaque_id)
    assert set(world.host.names) == {"opaque-anna.v1"}
    assert world.serves(anna) == 1


async def test_an_engine_that_is_away_is_no_erasure(world: World) -> None:
    user = world.user("ann", 1, active=1)
    await world.registry.activate(user, make_version(1))
    world.host.down = True
    with pytest.raises(EngineUnavailable):
        await world.registry.forget(user.opaque_id)
    world.host.down = False
    await world.registry.forget(user.opaque_id)
    assert not world.host.names


async def test_what_still_answers_is_not_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path, drain_seconds=0.01)
    user = world.user("ann", 1, active=1)
    await world.registry.activate(user, make_version(1))
    held = world.registry.acquire(user)
    with pytest.raises(EngineUnavailable, match="still answers"):
        await world.registry.forget(user.opaque_id)
    assert set(world.host.names) == {"opaque-ann.v1"}
    world.registry.release(held)
    await world.registry.forget(user.opaque_id)
    assert not world.host.names


async def test_what_answers_since_before_a_restart_is_not_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path, drain_seconds=0.01)
    user = world.user("ann", 1, active=1)
    await world.registry.activate(user, make_version(1))
    held = world.registry.acquire(user)
    world.registry.reset()
    with pytest.raises(EngineUnavailable, match="still answers"):
        await world.registry.forget(user.opaque_id)
    world.registry.release(held)
    await world.registry.forget(user.opaque_id)


async def test_a_retired_version_serves_nobody_whatever_the_row_says(world: World) -> None:
    user = world.user("ann", 2, 3, active=3)
    await world.registry.activate(user, make_version(2))
    await world.registry.retire(user, 2)
    assert world.registry.acquire(user).version == 0
    assert not world.host.names
    with pytest.raises(NotFound):
        await world.registry.acquire_version(user, make_version(2))


async def test_a_retired_version_goes_after_who_holds_it_and_is_handed_out_no_more(world: World) -> None:
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    held = await world.registry.acquire_version(user, make_version(2))
    retiring = asyncio.create_task(world.registry.retire(user, 2))
    await asyncio.sleep(0.01)
    assert not retiring.done()
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-ann.v2"}
    with pytest.raises(NotFound):
        await world.registry.acquire_version(user, make_version(2))
    world.registry.release(held)
    await retiring
    assert set(world.host.names) == {"opaque-ann.v1"}
    assert world.serves(user) == 1


async def test_what_still_answers_is_not_retired(tmp_path: Path) -> None:
    world = World(tmp_path, drain_seconds=0.01)
    user = world.user("ann", 1)
    held = await world.registry.acquire_version(user, make_version(1))
    with pytest.raises(EngineUnavailable, match="still answers"):
        await world.registry.retire(user, 1)
    world.registry.release(held)
    await until(lambda: not world.host.names)


async def test_a_load_under_way_of_a_retired_version_ends_in_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, ticks=20)
    user = world.user("ann", 1)
    loading = asyncio.create_task(world.registry.acquire_version(user, make_version(1)))
    await until(lambda: bool(world.host.names))
    await world.registry.retire(user, 1)
    assert not world.host.names
    with pytest.raises(NotFound):
        await loading


async def test_erasure_waits_for_a_load_under_way(tmp_path: Path) -> None:
    world = World(tmp_path, ticks=20)
    user = world.user("ann", 1, active=1)
    loading = asyncio.create_task(world.registry.activate(user, make_version(1)))
    await until(lambda: bool(world.host.names))
    await world.registry.forget(user.opaque_id)
    assert not world.host.names
    with pytest.raises(NotFound):
        await loading


async def test_a_namesake_made_anew_never_gets_what_the_erased_one_had(world: World) -> None:
    erased = world.user("ann", 1, active=1)
    await world.registry.activate(erased, make_version(1))
    held = world.registry.acquire(erased)
    anew = replace(erased, opaque_id="opaque-new")
    publish(world.root, anew, 1)
    world.rows[anew.owner] = make_version(1)
    assert world.serves(anew) == 0
    await until(lambda: world.serves(anew) == 1)
    assert world.registry.acquire(anew).name == "opaque-new.v1"
    erasing = asyncio.create_task(world.registry.forget(erased.opaque_id))
    await asyncio.sleep(0.01)
    world.registry.release(held)
    await erasing
    assert set(world.host.names) == {"opaque-new.v1"}
    assert world.serves(anew) == 1


async def test_a_host_that_resolves_is_told_only_what_is_to_be_gone(tmp_path: Path) -> None:
    host = FakeHost()
    registry = Registry(
        host,
        Directories(tmp_path),
        capacity=8,
        version_of=lambda _: asyncio.sleep(0, ServedVersions(None, None)),
        resolves=True,
    )
    ann, ben = make_user("ann", 1), make_user("ben", 1)
    for user in (ann, ben):
        for number in (1, 2):
            publish(tmp_path, user, number)
        await registry.activate(user, make_version(1))
    await registry.activate(ann, make_version(2))
    assert {"opaque-ann.v1", "opaque-ann.v2", "opaque-ben.v1"} == set(host.names), "others may name it still"
    await registry.retire(ann, 1)
    assert "opaque-ann.v1" not in host.names
    lost = registry.acquire(ben)
    await registry.reconcile(lost)
    registry.release(lost)
    assert registry.acquire(replace(ann, active_adapter=2)).version == 2, "only what was lost is dropped"
    assert registry.acquire(ben).version == 0
    await registry.forget(ben.opaque_id)
    assert set(host.names) == {"opaque-ann.v2"}
    await registry.close()
