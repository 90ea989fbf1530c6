"""`attune backup` and `attune restore`: database, adapters and secret, in a folder whose every file has its hash.

The database is copied first, while servers run, and the adapters after it: what was published meanwhile has no row
there, and a version that went meanwhile is served by retrieval alone. Nothing is migrated.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL

from adapters.artifacts.directories import Directories
from adapters.lifecycle import versions
from server.data.storage import open_directories, private_directory
from server.errors import StartRefused
from server.models.fetch import sha256
from server.settings import Settings
from store.database import Database
from store.errors import AttuneError, Conflict, NotFound

ADAPTERS, SECRET, INDEX = "adapters", "secret", "backup.json"
_DATABASES = {"sqlite": "attune.db", "postgresql": "attune.dump"}


@dataclass(frozen=True)
class Backup:
    """What a folder holds."""

    made_at: float
    database: str
    adapters: int
    missing: list[str]
    """Versions with a row whose files could not be read; they are not in the folder."""
    files: dict[str, str]
    """SHA-256 by path."""


Progress = Callable[[int, int], None]
"""Told how many of how many adapters are done."""


def backup(settings: Settings, folder: Path, progress: Progress) -> Backup:
    """Copy everything into ``folder``, which must be empty. Raises ``Conflict``, ``StartRefused``."""
    private_directory(folder)
    if any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: name another folder.", param="folder")
    with closing(Database(settings.database)) as database:
        if not _has_tables(database):
            raise NotFound("The database has no tables: there is nothing to back up.", param="database_url")
        kind = database.url.get_backend_name()
        _DUMPS[kind](database.url, folder / _DATABASES[kind])
        copied, missing = _copy_adapters(settings, database, folder / ADAPTERS, progress)
    if (secret := settings.data_dir / SECRET).exists():
        shutil.copy2(secret, folder / SECRET)
    files = {str(path.relative_to(folder)): sha256(path) for path in _files(folder)}
    made = Backup(time.time(), kind, copied, missing, files)
    (folder / INDEX).write_text(json.dumps(asdict(made), indent=2, sort_keys=True))
    return made


def restore(settings: Settings, folder: Path, progress: Progress) -> Backup:
    """Bring back what ``backup`` wrote, into a database without tables and a data folder without adapters.

    Raises ``Conflict``, ``NotFound``, ``StartRefused``; nothing is written unless the folder is whole.
    """
    try:
        made = Backup(**json.loads((folder / INDEX).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise NotFound(f"{folder} holds no backup: {INDEX} cannot be read.", param="folder") from error
    for name, digest in made.files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise Conflict(f"{name} is missing from the backup, or is another file than was written.", param="folder")
    private_directory(settings.data_dir)
    with closing(Database(settings.database)) as database:
        kind = database.url.get_backend_name()
        if kind != made.database:
            raise Conflict(f"The backup is of {made.database}, ATTUNE_DATABASE_URL of {kind}.", param="database_url")
        if _has_tables(database):
            raise Conflict("The database has tables already: name an empty one.", param="database_url")
        directories = open_directories(settings)
        private_directory(directories.root)
        if directories.users():
            raise Conflict(f"{directories.root} has adapters already.", param="data_dir")
        secret = settings.data_dir / SECRET
        if secret.exists() and SECRET in made.files and sha256(secret) != made.files[SECRET]:
            raise Conflict(f"{secret} is another one than the backup's.", param="data_dir")
        if SECRET in made.files:
            shutil.copy2(folder / SECRET, secret)
        _LOADS[kind](database.url, folder / _DATABASES[kind])
        if (folder / ADAPTERS).is_dir():
            shutil.copytree(folder / ADAPTERS, directories.root, dirs_exist_ok=True)
        database.migrate()
        ready = database.read_now(versions.everybodys_ready)
        for number, (opaque_id, version) in enumerate(ready, 1):
            if directories.path(opaque_id, version).is_dir():
                directories.verified(opaque_id, version)
                directories.mirror(opaque_id, version)
            progress(number, len(ready))
    return made


def _copy_adapters(settings: Settings, database: Database, into: Path, progress: Progress) -> tuple[int, list[str]]:
    private_directory(into)
    own = open_directories(settings)
    copies = Directories(into, own.store)
    ready, copied, missing = database.read_now(versions.everybodys_ready), 0, []
    for number, (opaque_id, version) in enumerate(ready, 1):
        try:
            if own.store is None:
                shutil.copytree(own.path(opaque_id, version), copies.path(opaque_id, version))
            copies.verified(opaque_id, version)
            copied += 1
        except (AttuneError, OSError):
            shutil.rmtree(copies.path(opaque_id, version), ignore_errors=True)
            missing.append(f"{opaque_id}/v{version}")
        progress(number, len(ready))
    shutil.rmtree(into / ".staging", ignore_errors=True)
    return copied, missing


def _has_tables(database: Database) -> bool:
    if database.url.get_backend_name() == "sqlite" and not Path(database.url.database or "").exists():
        return False
    return database.read_now(lambda c: bool(inspect(c).get_table_names()))


def _dump_sqlite(url: URL, into: Path) -> None:
    into.touch(mode=0o600)
    with closing(sqlite3.connect(url.database or "")) as source, closing(sqlite3.connect(into)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def _load_sqlite(url: URL, dump: Path) -> None:
    Path(url.database or "").unlink(missing_ok=True)  # one without tables
    shutil.copy2(dump, url.database or "")


def _dump_postgresql(url: URL, into: Path) -> None:
    _run("pg_dump", url, ["--format=custom", "--no-owner", "--no-privileges", "--file", str(into)])


def _load_postgresql(url: URL, dump: Path) -> None:
    _run("pg_restore", url, ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", str(dump)])


_DUMPS = {"sqlite": _dump_sqlite, "postgresql": _dump_postgresql}
_LOADS = {"sqlite": _load_sqlite, "postgresql": _load_postgresql}


def _run(program: str, url: URL, arguments: list[str]) -> None:
    """One of PostgreSQL's own programs; the password is not on its command line, where others could read it."""
    if (found := shutil.which(program)) is None:
        raise StartRefused(f"{program} is not installed: it comes with PostgreSQL's client, at the server's version.")
    named = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    password = {"PGPASSWORD": str(url.password)} if url.password else {}
    ran = subprocess.run(
        [found, "--dbname", named, *arguments], env={**os.environ, **password}, capture_output=True, text=True
    )
    if ran.returncode:
        raise StartRefused(f"{program} failed: {ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else ''}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
