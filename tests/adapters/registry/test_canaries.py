"""A version on trial beside the one that serves: dealt, promoted, rolled back."""

import asyncio
from dataclasses import replace

from store.users import User
from tests.adapters.fakes import until
from tests.adapters.registry.conftest import World, make_version


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
    await until(lambda: not world.registry._background._activating)
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
