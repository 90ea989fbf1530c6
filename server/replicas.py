"""The engines with their registries, as the settings have them."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from adapters.artifacts.directories import Directories
from adapters.registry.registry import OnSwap, Registry
from server.engine.client import Engine
from server.engine.pool import Replica
from server.rollout import served_versions
from server.settings import Settings
from store import keys
from store.database import Database

_SLOTS_BEHIND_A_ROUTER = 1 << 16
"""Of how many users a server knows what serves them: the engines make room by themselves."""


def make_replicas(
    settings: Settings,
    stack: AsyncExitStack,
    database: Database,
    directories: Directories,
    hosts: Mapping[str, Engine],
    *,
    base_sha256: Callable[[], Awaitable[str | None]],
    on_swap: OnSwap,
) -> list[Replica]:
    """One for each of ``hosts``, which have their names. The ``stack`` closes the registries."""

    async def slots_of_tenant() -> int:
        return settings.slots_of_tenant(several=await database.read(keys.several_tenants))

    replicas = []
    for name, host in hosts.items():
        registry = Registry(
            host,
            directories,
            capacity=_SLOTS_BEHIND_A_ROUTER if settings.engine_router else settings.adapter_slots,
            of_tenant=None if settings.engine_router else slots_of_tenant,
            version_of=lambda user: served_versions(database, user),
            base_sha256=base_sha256,
            pinned=lambda owner: owner.user in settings.pinned_users.get(owner.tenant, ()),
            drain_seconds=settings.engine_read_timeout,
            on_swap=on_swap,
            resolves=settings.engine_router,
        )
        stack.push_async_callback(registry.close)
        replicas.append(Replica(name, host, registry))
    return replicas
