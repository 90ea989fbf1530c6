"""What serves a user, as the rows say: read, and brought about in the engines and on this disk."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from adapters.artifacts.directories import Directories
from adapters.lifecycle import versions
from adapters.lifecycle.activation import Transition, choose, take_back
from adapters.lifecycle.versions import ServedVersions
from server.engine.pool import Registries
from store.database import Database
from store.errors import AttuneError, NotFound
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
Choose = Callable[[Connection, Owner], Transition]


async def served_versions(database: Database, user: User) -> ServedVersions:
    """What serves a user; the base model alone where the versions are gone."""
    try:
        return await database.read(versions.served, user.owner)
    except NotFound:
        return ServedVersions(None, None)


async def roll_out(database: Database, registry: Registries, directories: Directories, user: User) -> bool:
    """Serve the user as the rows say, and remove what they retired; False where a request or upkeep must finish it."""
    complete = True
    try:
        await registry.activate(user, *await served_versions(database, user))
    except AttuneError as error:
        log.warning("what serves %s is not in force yet: %s", user.opaque_id, error.message)
        complete = False
    held = await database.read(versions.all_of, user.owner)
    retired = {version.version for version in held if version.state == "retired"}
    for version in retired & await asyncio.to_thread(directories.published, user.opaque_id):
        try:
            await remove(registry, directories, user, version)
        except AttuneError as error:
            log.warning("a retired version of %s could not go yet: %s", user.opaque_id, error.message)
            complete = False
    return complete


async def switch(database: Database, registry: Registries, owner: Owner, choose: Choose) -> None:
    """What ``choose`` lets serve does so when this returns.

    The row is changed first: a request that reads it meanwhile brings the same version in, not the old one back.
    """
    await registry.switch(owner, _chosen(database, owner, choose))


async def serve_base(database: Database, registry: Registries, owner: Owner) -> None:
    """Serve the base model. It needs no turn: there is nothing to load that could fail."""
    served = await database.write(choose, owner, 0)
    await registry.activate(served.before, None)


async def remove(registry: Registries, directories: Directories, user: User, version: int) -> None:
    """Remove a version from the engine, whatever its row said: it may serve or answer still; then from the disk."""
    await registry.retire(user, version)
    await asyncio.to_thread(directories.remove, user.opaque_id, version)


@asynccontextmanager
async def _chosen(database: Database, owner: Owner, choose: Choose) -> AsyncIterator[Transition]:
    """The rows as chosen, and as before at an error: they must not promise what the engine could not load."""
    served = await database.write(choose, owner)
    try:
        yield served
    except BaseException:
        await asyncio.shield(database.write(take_back, *served))
        raise
