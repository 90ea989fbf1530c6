"""What the server keeps: its folder, its secret, its database, and where adapters are."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from adapters.artifacts.directories import Directories
from adapters.artifacts.object_store import ObjectStore
from preference.ports import Embedder
from preference.recall import embedding
from server.admission.common_count import PATIENCE
from server.errors import StartRefused
from server.settings import Settings
from store.database import Database
from store.errors import Invalid


def private_directory(folder: Path) -> None:
    """Make ``folder`` for this user alone. Raises ``StartRefused`` when it cannot be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(f"ATTUNE_DATA_DIR={folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartRefused(f"ATTUNE_DATA_DIR={folder} is not writable: choose another folder.")


def server_secret(data_dir: Path) -> bytes:
    """The secret that per-tenant cache salts are made with; made at the first start, readable by this user alone."""
    path = data_dir / "secret"
    if not path.exists():
        handle, written = tempfile.mkstemp(dir=data_dir)  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(handle)
        with suppress(FileExistsError):  # another process was first: its secret holds
            os.link(written, path)
        os.unlink(written)
    return path.read_bytes()


def open_database(settings: Settings) -> Database:
    """The database, migrated. Raises ``StartRefused`` where that is pending and not allowed."""
    database = Database(settings.database, busy_seconds=settings.store_timeout)
    if database.pending():
        if not settings.migrate:
            database.close()
            raise StartRefused("The database has pending migrations: back it up, then start with ATTUNE_MIGRATE=true.")
        database.migrate()
    return database


def open_count(settings: Settings) -> Database:
    """The database once more, for the limits that all servers count: with connections, and a patience, of its own."""
    return Database(settings.database, threads=4, busy_seconds=PATIENCE)


async def check_embedder(database: Database, embedder: Embedder) -> None:
    """Raise ``StartRefused`` where another embedder has embedded what is stored: none of it would ever be recalled."""
    if (other := await database.read(embedding.stranger, embedder)) is not None:
        raise StartRefused(
            f"ATTUNE_EMBEDDER is {embedder.name!r} ({embedder.dimension} dimensions), but contexts are stored that "
            f"{other!r} has embedded: set ATTUNE_REEMBED=true, stop all servers and run `attune reembed`, or go back "
            "to what it was."
        )


def open_directories(settings: Settings) -> Directories:
    """Where adapters are: on this disk, and in the object store if there is one. Raises ``StartRefused``."""
    try:
        store = ObjectStore(settings.adapter_store) if settings.adapter_store else None
    except Invalid as error:
        raise StartRefused(f"ATTUNE_ADAPTER_STORE cannot be used: {error.message}") from error
    return Directories((settings.data_dir / "adapters").resolve(), store)
