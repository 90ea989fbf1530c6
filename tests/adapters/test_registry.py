import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.directories import Directories
from adapters.manifest import Manifest
from adapters.names import engine_name
from adapters.registry import Lease, Registry
from adapters.store import Store
from adapters.versions import Serving, State, Version
from preference.errors import Conflict, EngineRejected, EngineUnavailable, Invalid, NotFound
from preference.owner import Owner
from preference.users import User
from tests.adapters.fakes import FakeHost, until


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

    async def version_of(self, user: User) -> Serving:
        self.asked += 1
        return Serving(self.rows.get(user.owner), self.canaries.get(user.owner))

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


async def test_without_an_adapter_the_base_model_serves(world: World) -> None:
    lease = world.registry.acquire(make_user("ann"))
    assert (lease.version, lease.name, lease.mode, lease.learned_through) == (0, None, "retrieval", 0.0)
    world.registry.release(lease)
    assert world.asked == 0


async def test_activation_loads_probes_and_flips(world: World) -> None:
    user = world.user("ann", 1, active=1)
    await world.registry.activate(user, make_version(1, "retrieval+adapter"))
    lease = world.registry.acquire(user)
    assert (lease.version, lease.name) == (1, "opaque-ann.v1")
    assert (lease.mode, lease.learned_through) == ("retrieval+adapter", 1.0)
    assert world.host.names == {"opaque-ann.v1": world.root / "opaque-ann" / "v1"}


def trial(user: User) -> User:
    """The same user, whose version 2 is tried."""
    return replace(user, canary_adapter=2, canary_share=0.5)


async def test_a_canary_answers_whom_it_is_dealt_to(world: World) -> None:
    user = trial(world.user("ann", 1, 2, active=1))
    world.rows[user.owner], world.canaries[user.owner] = make_version(1), make_version(2)
    await world.registry.activate(user, make_version(1), make_version(2))
    leases = {dealt: world.registry.acquire(user, dealt) for dealt in (0, 1, 2, 9)}
    assert {dealt: lease.version for dealt, lease in leases.items()} == {0: 1, 1: 1, 2: 2, 9: 1}
    for lease in leases.values():
        world.registry.release(lease)
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-ann.v2"}, "both stay, though nobody asks"
    assert world.asked == 0


async def test_until_the_canary_is_loaded_what_served_before_answers(world: World) -> None:
    user = trial(world.user("ann", 1, 2, active=1))
    world.rows[user.owner], world.canaries[user.owner] = make_version(1), make_version(2)
    await world.registry.activate(user, make_version(1))
    first = world.registry.acquire(user, 2)
    assert first.version == 1
    world.registry.release(first)
    await until(lambda: "opaque-ann.v2" in world.host.names)
    await until(lambda: not world.registry._activating)
    second = world.registry.acquire(user, 2)
    assert second.version == 2
    world.registry.release(second)


async def test_a_promoted_canary_serves_without_being_loaded_again(world: World) -> None:
    user = trial(world.user("ann", 1, 2, active=1))
    await world.registry.activate(user, make_version(1), make_version(2))
    held = world.registry.acquire(user, 2)
    promoted = replace(user, active_adapter=2, canary_adapter=0, canary_share=0.0)
    await world.registry.activate(promoted, make_version(2))
    assert world.serves(promoted) == 2
    assert world.host.log.count(("load", "opaque-ann.v2")) == 1
    assert set(world.host.names) == {"opaque-ann.v2"}
    world.registry.release(held)
    assert set(world.host.names) == {"opaque-ann.v2"}


async def test_a_canary_that_is_rolled_back_is_unloaded_after_its_answers(world: World) -> None:
    user = trial(world.user("ann", 1, 2, active=1))
    await world.registry.activate(user, make_version(1), make_version(2))
    held = world.registry.acquire(user, 2)
    over = asyncio.create_task(world.registry.activate(replace(user, canary_adapter=0), make_version(1)))
    await asyncio.sleep(0.01)
    assert "opaque-ann.v2" in world.host.names
    world.registry.release(held)
    await over
    await until(lambda: set(world.host.names) == {"opaque-ann.v1"})


async def test_a_canary_tried_beside_the_base_model(world: World) -> None:
    user = trial(world.user("ann", 2))
    await world.registry.activate(user, None, make_version(2))
    assert world.serves(user) == 0
    lease = world.registry.acquire(user, 2)
    assert lease.version == 2
    world.registry.release(lease)
    await world.registry.retire(user, 2)
    assert world.registry.acquire(user, 2).version == 0
    assert not world.host.names


async def test_the_old_one_serves_until_its_last_request_ends(world: World) -> None:
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    held = world.registry.acquire(user)
    world.rows[user.owner] = make_version(2)
    swap = asyncio.create_task(world.registry.activate(user, make_version(2)))
    after = replace(user, active_adapter=2)
    await until(lambda: world.serves(after) == 2)
    assert set(world.host.names) == {"opaque-ann.v1", "opaque-ann.v2"}
    assert not swap.done()
    world.registry.release(held)
    await swap
    assert set(world.host.names) == {"opaque-ann.v2"}


async def test_a_drain_is_bounded_and_the_last_release_unloads(tmp_path: Path) -> None:
    world = World(tmp_path, drain_seconds=0.01)
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    held = world.registry.acquire(user)
    await world.registry.activate(user, make_version(2))
    assert "opaque-ann.v1" in world.host.names
    world.registry.release(held)
    world.registry.release(held)
    await until(lambda: set(world.host.names) == {"opaque-ann.v2"})
    await world.registry.close()


async def test_a_failed_probe_keeps_what_serves(world: World) -> None:
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    world.host.refuse.add("opaque-ann.v2")
    with pytest.raises(EngineRejected):
        await world.registry.activate(user, make_version(2))
    assert world.registry.acquire(user).version == 1
    assert set(world.host.names) == {"opaque-ann.v1"}


async def test_acquire_starts_activation_in_the_background(world: World) -> None:
    user = world.user("ann", 3, active=3)
    world.rows[user.owner] = make_version(3)
    leases = [world.registry.acquire(user) for _ in range(20)]
    assert {lease.version for lease in leases} == {0}
    await until(lambda: world.serves(user) == 3)
    assert world.asked == 1


async def test_background_failures_are_not_retried_at_every_request(world: World) -> None:
    user = world.user("ann", 1, active=1)
    world.rows[user.owner] = make_version(1)
    world.host.down = True
    for _ in range(20):
        assert world.registry.acquire(user).name is None
        await asyncio.sleep(0.001)
    assert world.asked == 1


async def test_background_failures_are_retried_in_time(tmp_path: Path) -> None:
    world = World(tmp_path, retry_seconds=0.01)
    user = world.user("ann", 1, active=1)
    world.rows[user.owner] = make_version(1)
    world.host.down = True
    await until(lambda: not world.serves(user) and world.asked > 1)
    world.host.down = False
    await until(lambda: world.serves(user) == 1)
    await world.registry.close()


async def test_a_stale_user_does_not_undo_an_activation(world: World) -> None:
    stale = world.user("ann", 1, 2, active=1)
    world.rows[stale.owner] = make_version(2)
    await world.registry.activate(stale, make_version(2))
    for _ in range(10):
        assert world.registry.acquire(stale).version == 2
        await asyncio.sleep(0.001)
    assert world.asked == 1


async def test_a_user_without_an_active_version_gets_the_base_model_at_once(world: World) -> None:
    user = world.user("ann", 1, active=1)
    await world.registry.activate(user, make_version(1))
    assert world.registry.acquire(replace(user, active_adapter=0)).name is None
    await until(lambda: not world.host.names)


async def test_rollback_to_the_version_being_drained(world: World) -> None:
    user = world.user("ann", 1, 2, active=1)
    await world.registry.activate(user, make_version(1))
    held = world.registry.acquire(user)
    swap = asyncio.create_task(world.registry.activate(user, make_version(2)))
    await until(lambda: world.serves(replace(user, active_adapter=2)) == 2)
    back = asyncio.create_task(world.registry.activate(user, make_version(1)))
    await until(lambda: world.serves(user) == 1)
    world.registry.release(held)
    assert "opaque-ann.v1" in world.host.names
    assert world.host.log.count(("load", "opaque-ann.v1")) == 1
    back.cancel()
    swap.cancel()
    await asyncio.gather(back, swap, return_exceptions=True)


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


async def test_many_who_want_one_version_load_it_once(tmp_path: Path) -> None:
    world = World(tmp_path, ticks=5)
    user = world.user("ann", 1, active=1)
    world.rows[user.owner] = make_version(1)
    for _ in range(10):
        world.registry.release(world.registry.acquire(user))
    leases = await asyncio.gather(*(world.registry.acquire_version(user, make_version(1)) for _ in range(10)))
    assert {lease.name for lease in leases} == {"opaque-ann.v1"}
    assert world.host.log == [("load", "opaque-ann.v1")]
    await world.registry.close()


async def test_the_engine_loads_one_at_a_time(tmp_path: Path) -> None:
    class Counting(FakeHost):
        loading = most = 0

        async def load(self, name: str, path: Path) -> None:
            self.loading += 1
            self.most = max(self.most, self.loading)
            await super().load(name, path)
            self.loading -= 1

    host = Counting(ticks=5)
    world = World(tmp_path)
    registry = Registry(host, Directories(tmp_path), capacity=9, version_of=world.version_of)
    users = [world.user(f"user-{number}", 1, active=1) for number in range(6)]
    await asyncio.gather(*(registry.activate(user, make_version(1)) for user in users))
    assert (len(host.names), host.most) == (6, 1)


async def test_what_this_disk_lacks_is_brought_from_the_store_before_it_is_loaded(tmp_path: Path) -> None:
    here, there = (Directories(tmp_path / name, Store(f"file://{tmp_path / 'store'}")) for name in ("here", "there"))
    user = make_user("ann", 1)
    stage = there.stage(user.opaque_id, 1)
    (stage / "adapter_config.json").write_text("{}")
    there.publish(stage, user.opaque_id, Manifest(1, [], "base", {}, {}, {}, 0.0))
    host, world = FakeHost(), World(tmp_path)
    registry = Registry(host, here, capacity=2, version_of=world.version_of)
    await registry.activate(user, make_version(1))
    assert host.names == {"opaque-ann.v1": here.path(user.opaque_id, 1)}
    with pytest.raises(NotFound):
        await registry.activate(user, make_version(2))
    lease = registry.acquire(user)
    assert lease.version == 1, "what served before goes on serving"


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


async def test_a_named_version_serves_one_request_and_goes(world: World) -> None:
    user = world.user("ann", 1, 2, active=2)
    await world.registry.activate(user, make_version(2))
    lease = await world.registry.acquire_version(user, make_version(1))
    assert lease.name == "opaque-ann.v1"
    assert world.registry.acquire(user).version == 2
    world.registry.release(lease)
    await until(lambda: set(world.host.names) == {"opaque-ann.v2"})


async def test_only_ready_versions_of_this_base_with_a_directory(world: World) -> None:
    user = world.user("ann", active=1)
    with pytest.raises(Conflict, match="refused, not ready"):
        await world.registry.activate(user, make_version(1, state="refused"))
    with pytest.raises(NotFound, match="no complete directory"):
        await world.registry.activate(user, make_version(1))
    publish(world.root, user, 1, base="another")
    with pytest.raises(Invalid, match="another base model"):
        await world.registry.activate(user, make_version(1))
    assert world.host.log == []


async def test_while_the_base_cannot_be_hashed_adapters_are_refused_and_the_base_serves(world: World) -> None:
    world.base = None
    user = world.user("ann", 1, active=1)
    world.rows[user.owner] = make_version(1)
    with pytest.raises(Invalid, match="no safetensors"):
        await world.registry.activate(user, make_version(1))
    assert world.serves(user) == 0
    assert world.host.log == []


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


async def test_a_cancelled_load_leaves_no_hole(tmp_path: Path) -> None:
    world = World(tmp_path, ticks=30)
    user = world.user("ann", 1, active=1)
    loading = asyncio.create_task(world.registry.activate(user, make_version(1)))
    await until(lambda: bool(world.host.names))
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await world.registry.activate(user, make_version(1))
    assert world.registry.acquire(user).version == 1
    assert set(world.host.names) == {"opaque-ann.v1"}


NAMES = ("ann", "ben", "cat")
OPERATION = st.one_of(
    st.tuples(st.just("acquire"), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("activate"), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("acquire_version"), st.sampled_from(NAMES), st.integers(1, 2)),
    st.tuples(st.just("acquire_canary"), st.sampled_from(NAMES), st.integers(0, 1)),
    st.tuples(st.just("try"), st.sampled_from(NAMES), st.integers(0, 1)),
    st.tuples(st.just("retire"), st.sampled_from(NAMES), st.integers(1, 2)),
    st.tuples(st.just("release"), st.just(""), st.integers(0, 20)),
    st.tuples(st.just("turns"), st.just(""), st.integers(1, 6)),
    st.tuples(st.just("wait"), st.just(""), st.just(0)),
)


class WatchedHost(FakeHost):
    """Says so when a name is unloaded while a request holds it."""

    def __init__(self) -> None:
        super().__init__(ticks=2)
        self.held: list[Lease] = []

    async def unload(self, name: str) -> None:
        assert name not in {lease.name for lease in self.held}, f"{name} is unloaded while in flight"
        await super().unload(name)
        assert name not in {lease.name for lease in self.held}, f"{name} was acquired while being unloaded"


@given(st.lists(OPERATION, max_size=40), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_no_interleaving_unloads_what_is_in_flight_or_serves_what_is_not_loaded(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, str, int]], capacity: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "interleavings"
    if not root.exists():
        for name in NAMES:
            for number in (1, 2):
                publish(root, make_user(name), number)
    asyncio.run(_play(root, operations, capacity))


async def _play(root: Path, operations: list[tuple[str, str, int]], capacity: int) -> None:
    host, tasks = WatchedHost(), list[asyncio.Task[None]]()

    async def version_of(user: User) -> Serving:
        await asyncio.sleep(0)
        active, canary = (make_version(n) if n else None for n in (user.active_adapter, user.canary_adapter))
        return Serving(active, canary)

    registry = Registry(
        host, Directories(root), capacity=capacity, version_of=version_of, drain_seconds=0.005, retry_seconds=0.001
    )

    def check() -> None:
        assert {lease.name for lease in host.held} - {None} <= set(host.names)

    async def attempt(work: Awaitable[object]) -> None:
        try:
            got = await work
        except (EngineUnavailable, NotFound):  # every place is in use, a request goes on for long; it is retired
            return
        if isinstance(got, Lease):
            host.held.append(got)
            check()

    for operation, name, number in operations:
        match operation:
            case "acquire":
                lease = registry.acquire(make_user(name, number))
                assert lease.name in (None, engine_name(f"opaque-{name}", lease.version))
                host.held.append(lease)
            case "activate":
                wanted = make_version(number) if number else None
                tasks.append(asyncio.create_task(attempt(registry.activate(make_user(name), wanted))))
            case "try":
                wanted = make_version(number) if number else None
                trying = registry.activate(make_user(name), wanted, make_version(2))
                tasks.append(asyncio.create_task(attempt(trying)))
            case "acquire_canary":
                host.held.append(registry.acquire(trial(make_user(name, number)), 2))
            case "acquire_version":
                named = registry.acquire_version(make_user(name), make_version(number))
                tasks.append(asyncio.create_task(attempt(named)))
            case "retire":
                tasks.append(asyncio.create_task(attempt(registry.retire(make_user(name), number))))
            case "release" if host.held:
                registry.release(host.held.pop(number % len(host.held)))
            case "turns":
                for _ in range(number):
                    await asyncio.sleep(0)
            case "wait":
                await asyncio.sleep(0.004)
        check()
    await asyncio.gather(*tasks)
    check()
    while host.held:
        registry.release(host.held.pop())
    while registry._tasks:
        await asyncio.gather(*registry._tasks)
    serving = {lease.name for name in NAMES for n in (1, 2) if (lease := registry.acquire(make_user(name, n))).name}
    tried = {lease.name for name in NAMES if (lease := registry.acquire(trial(make_user(name)), 2)).name}
    assert set(host.names) == serving | tried, "an adapter that serves nobody is left in the engine"
    assert len(serving | tried) <= capacity + 1, "what serves takes no place while its canary is loaded"
    await registry.close()


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


async def test_a_host_that_resolves_is_told_only_what_is_to_be_gone(tmp_path: Path) -> None:
    host = FakeHost()
    registry = Registry(
        host,
        Directories(tmp_path),
        capacity=8,
        version_of=lambda _: asyncio.sleep(0, Serving(None, None)),
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
