"""The engine has few places: who makes room, who waits for a turn, and what no tenant can take alone."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from adapters.artifacts.directories import Directories
from adapters.registry.entries import Lease
from adapters.registry.registry import Registry
from store.errors import EngineUnavailable
from store.owner import Owner
from store.users import User
from tests.adapters.fakes import FakeHost, until
from tests.adapters.registry.conftest import World, make_version


async def test_idle_users_make_room_least_recently_used_first(world: World) -> None:
    ann, ben, cat = (world.user(name, 1, active=1) for name in ("ann", "ben", "cat"))
    await world.registry.activate(ann, make_version(1))
    await world.registry.activate(ben, make_version(1))
    world.registry.release(world.registry.acquire(ann))
    await world.registry.activate(cat, make_version(1))
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-cat.v1"}


async def test_users_with_requests_in_flight_are_not_evicted(world: World) -> None:
    ann, ben, cat = (world.user(name, 1, active=1) for name in ("ann", "ben", "cat"))
    await world.registry.activate(ann, make_version(1))
    await world.registry.activate(ben, make_version(1))
    held = world.registry.acquire(ann)
    world.registry.acquire(ben)
    with pytest.raises(EngineUnavailable, match="all 2 places"):
        await world.registry.activate(cat, make_version(1))
    world.registry.release(held)
    await world.registry.activate(cat, make_version(1))
    assert set(world.host.names) == {"opaque-ben.v1", "opaque-cat.v1"}


def of_tenant(world: World, tenant: str, name: str) -> User:
    user = replace(world.user(f"{tenant}-{name}", 1, active=1), owner=Owner(tenant, name))
    world.rows[user.owner] = make_version(1)
    return user


async def test_a_tenant_whose_users_are_all_busy_leaves_places_for_others(tmp_path: Path) -> None:
    world = World(tmp_path, capacity=4, of_tenant=3)
    greedy = [of_tenant(world, "greedy", str(number)) for number in range(5)]
    for user in greedy[:3]:
        await world.registry.activate(user, make_version(1))
    held = [world.registry.acquire(user) for user in greedy[:3]]
    with pytest.raises(EngineUnavailable, match="the 3 places of a tenant"):
        await world.registry.activate(greedy[3], make_version(1))
    other = of_tenant(world, "other", "ann")
    await world.registry.activate(other, make_version(1))
    assert world.serves(other) == 1
    world.registry.release(held[0])  # its own user makes room, though the other tenant's was idle for as long
    await world.registry.activate(greedy[3], make_version(1))
    assert world.serves(other) == 1
    assert world.serves(greedy[0]) == 0


async def test_loads_of_tenants_take_turns(tmp_path: Path) -> None:
    class Slow(FakeHost):
        loads: ClassVar[list[str]] = []

        async def load(self, name: str, path: Path) -> None:
            self.loads.append(name)
            await asyncio.sleep(0.2)  # all the others have asked by then
            await super().load(name, path)

    world = World(tmp_path)
    registry = Registry(Slow(), Directories(tmp_path), capacity=9, version_of=world.version_of)
    users = [of_tenant(world, "greedy", str(number)) for number in range(6)] + [of_tenant(world, "other", "ann")]
    await asyncio.gather(*(registry.activate(user, make_version(1)) for user in users))
    assert Slow.loads.index("opaque-other-ann.v1") <= 2
    assert len(Slow.loads) == 7


async def test_who_is_pinned_makes_no_room_however_long_idle(world: World) -> None:
    ann, ben, cat, dan = (world.user(name, 1, active=1) for name in ("ann", "ben", "cat", "dan"))
    world.pinned.add(ann.owner)
    for user in (ann, ben, cat):
        await world.registry.activate(user, make_version(1))
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-cat.v1"}
    world.pinned.add(cat.owner)
    with pytest.raises(EngineUnavailable, match="all 2 places"):
        await world.registry.activate(dan, make_version(1))
    world.pinned.clear()
    await world.registry.activate(dan, make_version(1))
    assert set(world.host.names) == {"opaque-cat.v1", "opaque-dan.v1"}


async def test_one_user_cannot_take_more_than_all_places(tmp_path: Path) -> None:
    world = World(tmp_path, capacity=3)
    user = world.user("ann", *range(1, 6), active=1)
    await world.registry.activate(user, make_version(1))
    asked = (world.registry.acquire_version(user, make_version(number)) for number in range(2, 6))
    got = await asyncio.gather(*asked, return_exceptions=True)
    leases = [lease for lease in got if isinstance(lease, Lease)]
    assert len(leases) == 3, "as many as there are places, beside what serves by default"
    assert isinstance(got[3], EngineUnavailable)
    assert len(world.host.names) == 4
    for lease in leases:
        world.registry.release(lease)
    again = await world.registry.acquire_version(user, make_version(5))
    assert again.name in world.host.names
    assert world.serves(user) == 1


async def test_versions_that_are_held_leave_no_room_for_others(tmp_path: Path) -> None:
    world = World(tmp_path, capacity=2)
    ann, ben = world.user("ann", 1, 2), world.user("ben", 1, active=1)
    held = [await world.registry.acquire_version(ann, make_version(number)) for number in (1, 2)]
    with pytest.raises(EngineUnavailable, match="all 2 places"):
        await world.registry.activate(ben, make_version(1))
    for lease in held:
        world.registry.release(lease)
    await world.registry.activate(ben, make_version(1))
    assert world.serves(ben) == 1


async def test_a_swap_needs_no_second_place(tmp_path: Path) -> None:
    world = World(tmp_path, capacity=1)
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    await world.registry.activate(user, make_version(2))
    assert set(world.host.names) == {"opaque-ann.v2"}


async def test_who_waits_for_a_turn_pushes_nobody_out(tmp_path: Path) -> None:
    """With more misses than loads, places full of those who wait would serve nobody."""
    world = World(tmp_path, capacity=3)
    names = ("ann", "ben", "cat", "dan", "eve", "fay")
    users = [world.user(name, 1, active=1) for name in names]
    for user in users[:3]:
        await world.registry.activate(user, make_version(1))
    world.host.ticks = 50
    coming = [asyncio.create_task(world.registry.activate(user, make_version(1))) for user in users[3:]]
    await until(lambda: len(world.host.names) == 2)
    assert [world.serves(user) for user in users[:3]] == [0, 1, 1], "one place is made for the one whose turn it is"
    await asyncio.gather(*coming)
    assert len(world.host.names) == 3
    await world.registry.close()
