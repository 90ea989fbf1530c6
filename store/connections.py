"""SQLAlchemy's engines on SQLite and PostgreSQL: how transactions begin, how long they wait, what errors mean."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DataError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.errors import Invalid
from store.write_health import StoreUnavailable

BUSY_SECONDS = 30.0  # how long a write waits for others, from when it is asked for
_SQLITE_BEGIN = {
    "read": ("PRAGMA query_only=ON", "BEGIN"),
    "write": ("PRAGMA query_only=OFF", "PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"),
    "unsynced": ("PRAGMA query_only=OFF", "PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"),
    # Rebuilding a table drops the old one, which would cascade.
    "migrate": ("PRAGMA query_only=OFF", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=OFF", "BEGIN IMMEDIATE"),
}
DEADLINE: ContextVar[float | None] = ContextVar("until", default=None)
"""When the transaction that this thread begins has to have what it waits for; of the monotonic clock."""


def parse_url(url: str) -> URL:
    """The database's URL with its driver. Raises ``Invalid``."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid("the database URL must look like sqlite:///attune.db", param="database_url") from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise Invalid(
            f"the database must be sqlite:///… or postgresql+psycopg://…, not {parsed.drivername}://…",
            param="database_url",
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise Invalid("SQLite needs a file, as in sqlite:///attune.db", param="database_url")
    return parsed


def sqlite_engine(url: URL, threads: int) -> Engine:
    """The engine of a SQLite file."""
    connect_args = {"timeout": BUSY_SECONDS}
    engine = create_engine(url, pool_size=threads + 1, json_serializer=_json, connect_args=connect_args)

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions begin in `begin` below, not when the driver sees fit
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def raw(connection: Connection) -> sqlite3.Connection:  # each statement costs a tenth of what it does above it
        driver: Any = connection.connection.driver_connection
        return driver  # type: ignore[no-any-return]

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        try:
            if (until := DEADLINE.get()) is not None:
                raw(connection).execute(f"PRAGMA busy_timeout={_left(until)}").fetchall()
            for statement in _SQLITE_BEGIN[connection.get_execution_options()["begin"]]:
                raw(connection).execute(statement)
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(f"the database is not available: {_first_line(error)}") from error

    return engine


def named_dialect(url: URL) -> Dialect:
    """SQLite's dialect with named parameters."""
    return create_engine(url, json_serializer=_json, paramstyle="named").dialect


def postgresql_engine(url: URL, threads: int) -> Engine:
    """The engine of a PostgreSQL database."""
    engine = create_engine(url, pool_size=threads + 1, pool_pre_ping=True, json_serializer=_json)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        told = []
        if connection.get_execution_options().get("begin") == "unsynced":
            told.append("SET LOCAL synchronous_commit TO off")
        if (until := DEADLINE.get()) is not None:
            told.append(f"SET LOCAL lock_timeout TO {_left(until)}")
        if told:
            connection.exec_driver_sql("; ".join(told))

    return engine


def _left(until: float) -> int:
    """Milliseconds until then. Raises ``StoreUnavailable`` when there are none."""
    left = int((until - time.monotonic()) * 1000)
    if left <= 0:
        raise StoreUnavailable("the database is busy: others have been writing for too long")
    return left


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


@contextmanager
def domain_errors() -> Iterator[None]:
    """Raise what drivers raise as errors of the domain."""
    try:
        yield
    except DataError as error:
        raise Invalid("the database cannot hold a value of the request") from error
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"the database is not available: {_first_line(error.orig)}") from error
    except DatabaseError as error:
        # Its other kinds are mistakes of ours, but for PostgreSQL's word for a server that is read-only.
        read_only = getattr(error.orig, "sqlstate", None) == "25006"
        if type(error) is not DatabaseError and not read_only:
            raise
        raise StoreUnavailable(f"the database cannot be used: {_first_line(error.orig)}") from error
    except (PoolTimeout, NoSuchModuleError) as error:
        raise StoreUnavailable(f"the database is not available: {_first_line(error)}") from error


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), "")
