"""Any interleaving of requests, activations and retirements: nothing is unloaded while it answers."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.artifacts.directories import Directories
from adapters.artifacts.names import engine_name
from adapters.lifecycle.versions import ServedVersions
from adapters.registry.entries import Lease
from adapters.registry.registry import Registry
from store.errors import EngineUnavailable, NotFound
from store.users import User
from tests.adapters.fakes import FakeHost
from tests.adapters.registry.conftest import make_user, make_version, publish
from tests.adapters.registry.test_canaries import trial

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

    async def version_of(user: User) -> ServedVersions:
        await asyncio.sleep(0)
        active, canary = (make_version(n) if n else None for n in (user.active_adapter, user.canary_adapter))
        return ServedVersions(active, canary)

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
    while registry._background._tasks:
        await asyncio.gather(*registry._background._tasks)
    serving = {lease.name for name in NAMES for n in (1, 2) if (lease := registry.acquire(make_user(name, n))).name}
    tried = {lease.name for name in NAMES if (lease := registry.acquire(trial(make_user(name)), 2)).name}
    assert set(host.names) == serving | tried, "an adapter that serves nobody is left in the engine"
    assert len(serving | tried) <= capacity + 1, "what serves takes no place while its canary is loaded"
    await registry.close()
