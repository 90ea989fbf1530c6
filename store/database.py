"""SQLite or PostgreSQL behind one door: synchronous SQLAlchemy Core, a small thread pool, one transaction a call."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from store.connections import (
    BUSY_SECONDS,
    DEADLINE,
    domain_errors,
    named_dialect,
    parse_url,
    postgresql_engine,
    sqlite_engine,
)
from store.errors import Conflict
from store.loop_connection import LoopConnection
from store.tables import metadata
from store.write_health import StoreUnavailable, WriteHealth

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["Database", "StoreUnavailable", "migrations"]
PROBE_SECONDS = 1.0  # how long one waits that only finds out whether writes go through
UNSYNCED_PER_CHECKPOINT = 500  # some 15 MB of log
SCRUB_SECONDS = 1  # how long emptying its log may wait for readers
_MIGRATION_LOCK = 0x41747475  # PostgreSQL advisory lock: two servers that start together migrate once


MIGRATION_SECONDS = 600.0
"""For which a migration is tried while others hold its tables."""
_MIGRATION_PATIENCE = 700  # milliseconds; after a second PostgreSQL looks for circles of locks, and ends somebody
_GAVE_WAY = {"57014", "55P03", "40P01"}  # its words for: it took too long, there was no lock, there was a circle
_BY_LOCK = ["users", *(name for name in metadata.tables if name != "users")]  # most transactions begin with users


class Database:
    """The rows' home. Functions on rows take a ``Connection`` first and never commit; this is the boundary.

    ``url`` is ``sqlite:///path/to/file`` or ``postgresql+psycopg://user:password@host/name``. Reads see one
    snapshot and cannot write; a write is one transaction, committed when the function returns and rolled back
    when it raises. A cancelled ``await`` does not stop a transaction that has begun: it still ends as a whole.
    ``busy_seconds`` after it was asked for, a write that still waits for others raises ``StoreUnavailable``.
    """

    def __init__(self, url: str, threads: int = 4, busy_seconds: float = BUSY_SECONDS) -> None:
        self.url = parse_url(url)
        self._sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = sqlite_engine(self.url, threads) if self._sqlite else postgresql_engine(self.url, threads)
        snapshot = {} if self._sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self._engine.execution_options(begin="read", **snapshot)
        self._writer = self._engine.execution_options(begin="write")
        self._unsynced = self._engine.execution_options(begin="unsynced")
        self._loop = LoopConnection(self._file, named_dialect(self.url)) if self._sqlite else None
        self._unsynced_writes = 0
        self._busy_seconds = busy_seconds
        self.write_health = WriteHealth(self._probe)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")
        # SQLite has one writer at a time: queueing for it in one thread is fair and leaves the others to the readers.
        self._write_threads = ThreadPoolExecutor(1, thread_name_prefix="write") if self._sqlite else self._threads

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``fn(connection, *args, **kwargs)`` in a thread, in a read-only transaction."""
        call = partial(self.read_now, fn, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def look_up(
        self, fn: Callable[Concatenate[Connection | LoopConnection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """``read`` by one prepared statement, on a request's path; call it in one event loop only.

        On SQLite it is done here and now: the way to another thread and back takes longer than such a read, which
        no writer holds up.
        """
        if self._loop is not None:
            with suppress(sqlite3.Error):  # a thread may wait, and knows what to say
                return fn(self._loop, *args, **kwargs)
        return await self.read(fn, *args, **kwargs)

    async def write(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``fn(connection, *args, **kwargs)`` in a thread, in one writing transaction."""
        return await self._told(self._writer, lambda c: fn(c, *args, **kwargs))

    async def write_unsynced(
        self, fn: Callable[Concatenate[Connection | LoopConnection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """``write`` by one prepared statement, without waiting for the disk.

        A killed process loses nothing, a power cut the last moments. The log is synced in order, so once a later
        ``write`` returns, this one is durable as well. On SQLite it is done here and now, like ``look_up``, unless
        somebody else is writing. It is done to its end though the caller is cancelled meanwhile.
        """
        if self._loop is not None:
            with suppress(sqlite3.Error):
                done = fn(self._loop, *args, **kwargs)
                self.write_health.succeeded()
                self._unsynced_writes += 1
                if self._unsynced_writes % UNSYNCED_PER_CHECKPOINT == 0:
                    self._write_threads.submit(self._checkpoint)
                return done
        return await self.note(fn, *args, **kwargs)

    async def note(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``write``, in a thread, without waiting for the disk: as durable as ``write_unsynced``, by any statements."""
        return await asyncio.shield(self._told(self._unsynced, lambda c: fn(c, *args, **kwargs)))

    def read_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``read``, blocking: for the command line and for threads."""
        return self._in_transaction(self._reader, lambda c: fn(c, *args, **kwargs))

    def write_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``write``, blocking: for the command line and for threads."""
        return self._by(time.monotonic() + self._busy_seconds, self._writer, lambda c: fn(c, *args, **kwargs))

    def migrate(self) -> None:
        """Bring the schema up to date, a revision a transaction; makes the SQLite file, readable by its owner alone.

        On PostgreSQL others may go on meanwhile. Each revision has all tables first, at once and soon, or it gives way
        and tries again: so that no circle of locks is ever ended by ending what others do.
        """
        if self._sqlite:
            with self._file_errors():
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file.touch(mode=0o600)
        until = time.monotonic() + MIGRATION_SECONDS
        while True:
            try:
                with domain_errors():
                    if self._migrated():
                        return
            except StoreUnavailable as error:
                state = getattr(getattr(error.__cause__, "orig", None), "sqlstate", None)
                if state not in _GAVE_WAY or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.1, 0.5))

    def _migrated(self) -> bool:
        """Migrate, on PostgreSQL by one revision; whether none is left."""
        config, head = migrations(), "head"
        script = ScriptDirectory.from_config(config)
        with self._engine.execution_options(begin="migrate").connect() as connection:
            try:
                with connection.begin():
                    if not self._sqlite:
                        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                        now = MigrationContext.configure(connection).get_current_revision()
                        left = [one.revision for one in script.iterate_revisions("head", now or "base")]
                        if not left:
                            return True
                        head = left[-1]
                        if there := [name for name in _BY_LOCK if inspect(connection).has_table(name)]:
                            connection.execute(text(f"SET LOCAL statement_timeout TO {_MIGRATION_PATIENCE}"))
                            connection.execute(text(f"LOCK TABLE {', '.join(there)} IN ACCESS EXCLUSIVE MODE"))
                            connection.execute(text("SET LOCAL statement_timeout TO 0"))
                    config.attributes["connection"] = connection
                    command.upgrade(config, head)
                    if self._sqlite and (broken := connection.execute(text("PRAGMA foreign_key_check")).first()):
                        raise Conflict(f"the migration would leave rows without their parent: {tuple(broken)}")
            except (CommandError, RevisionError) as error:
                raise Conflict(f"the database cannot be migrated by this version of Attune: {error}") from error
            finally:
                connection.invalidate()  # its foreign keys are off
        return self._sqlite

    def pending(self) -> bool:
        """Whether ``migrate`` has something to do, or the database was made by another version."""
        with self._file_errors():
            if self._sqlite and not self._file.exists():
                return True
        heads = set(ScriptDirectory.from_config(migrations()).get_heads())
        return self.read_now(lambda c: set(MigrationContext.configure(c).get_current_heads()) != heads)

    async def scrub(self) -> bool:
        """``scrub_now`` in a thread of its own."""
        return await asyncio.to_thread(self.scrub_now)

    def scrub_now(self, *, full: bool = False) -> bool:
        """Take what was deleted out of the store's files as well; whether they could be had for it.

        SQLite: the write-ahead log is emptied into the database file, where deleted content is zeros. PostgreSQL: dead
        rows are vacuumed, so that their space is written over in time; its own WAL is the operator's. ``full``
        rewrites every table, which locks everybody out meanwhile.
        """
        if self._sqlite:
            with domain_errors(), closing(self._engine.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout={SCRUB_SECONDS * 1000}")  # writers wait behind us
                if full:
                    cursor.execute("PRAGMA query_only=OFF")
                    cursor.execute("VACUUM")
                busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
                return not busy
        with domain_errors(), self._engine.connect() as vacuum:
            how = "FULL" if full else "SKIP_LOCKED"
            vacuum.execution_options(isolation_level="AUTOCOMMIT")
            vacuum.exec_driver_sql(f"VACUUM ({how}) {', '.join(metadata.tables)}")
            return True

    def close(self) -> None:
        """End the threads after the calls that run, then the connections."""
        self._write_threads.shutdown()
        self._threads.shutdown()
        self._engine.dispose()
        if self._loop is not None:
            self._loop.close()

    async def _told(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        """A write in a thread, its time counted from now, and what became of it told to ``write_health``."""
        began = time.monotonic()
        call = partial(self._by, began + self._busy_seconds, engine, work)
        try:
            done = await asyncio.get_running_loop().run_in_executor(self._write_threads, call)
        except StoreUnavailable as error:
            self.write_health.failed(error, began)
            raise
        self.write_health.succeeded()
        return done

    def _by(self, until: float, engine: Engine, work: Callable[[Connection], T]) -> T:
        token = DEADLINE.set(until)
        try:
            return self._in_transaction(engine, work)
        finally:
            DEADLINE.reset(token)

    async def _probe(self) -> None:
        """Write the smallest thing there is, durably: SQLite's header as it stands, PostgreSQL's record of a commit."""

        def probe(c: Connection) -> None:
            if self._sqlite:
                version = c.exec_driver_sql("PRAGMA user_version").scalar_one()
                c.exec_driver_sql(f"PRAGMA user_version={version}")
            else:
                c.exec_driver_sql("SELECT txid_current()")

        await asyncio.to_thread(self._by, time.monotonic() + PROBE_SECONDS, self._writer, probe)

    def _checkpoint(self) -> None:
        """Move the log's pages into the database file, as far as that holds nobody up: its disk is slow."""
        with suppress(StoreUnavailable), domain_errors(), closing(self._engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _in_transaction(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with domain_errors(), engine.begin() as connection:
            return work(connection)

    @property
    def _file(self) -> Path:
        return Path(self.url.database or "")

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(f"the database file {self._file} cannot be used: {error.strerror}") from error


def clock(c: Connection) -> float:
    """What a PostgreSQL server says the time is, in seconds since 1970."""
    return float(c.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def migrations() -> Config:
    """Alembic's configuration, found from the installed package: no ``alembic.ini`` is needed."""
    config = Config()
    config.set_main_option("script_location", "store:migrations")
    return config
