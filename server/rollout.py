"""What serves a user, as the rows say: read, and brought about in the engines and on this disk."""

import asyncio
import logging

from adapters import versions
from adapters.directories import Directories
from adapters.versions import Serving
from preference.database import Database
from preference.errors import AttuneError, NotFound
from preference.users import User
from server.engines import Registries

log = logging.getLogger(__name__)


async def serving(database: Database, user: User) -> Serving:
    """What serves a user; the base model alone where the versions are gone."""
    try:
        return await database.read(versions.serving, user.owner)
    except NotFound:
        return Serving(None, None)


async def roll_out(database: Database, registry: Registries, directories: Directories, user: User) -> bool:
    """Serve the user as the rows say, and remove what they retired; False where a request or upkeep must finish it."""
    complete = True
    try:
        await registry.activate(user, *await serving(database, user))
    except AttuneError as error:
        log.warning("what serves %s is not in force yet: %s", user.opaque_id, error.message)
        complete = False
    held = await database.read(versions.all_of, user.owner)
    retired = {version.version for version in held if version.state == "retired"}
    for version in retired & await asyncio.to_thread(directories.published, user.opaque_id):
        try:
            await registry.retire(user, version)
            await asyncio.to_thread(directories.remove, user.opaque_id, version)
        except AttuneError as error:
            log.warning("a retired version of %s could not go yet: %s", user.opaque_id, error.message)
            complete = False
    return complete
