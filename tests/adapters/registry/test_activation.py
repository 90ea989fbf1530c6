"""A version is loaded, probed and served, and the one before it drained; whoever asks meanwhile is answered."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.object_store import ObjectStore
from adapters.registry.registry import Registry
from store.errors import Conflict, EngineRejected, Invalid, NotFound
from tests.adapters.fakes import FakeHost, until
from tests.adapters.registry.conftest import World, make_user, make_version, publish


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
    here, there = (
        Directories(tmp_path / name, ObjectStore(f"file://{tmp_path / 'store'}")) for name in ("here", "there")
    )
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
