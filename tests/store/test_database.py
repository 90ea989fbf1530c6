"""The door to both stores: transactions, migrations, and errors that a caller can act on."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.exc import IntegrityError

from preference import context_rows, preferences
from preference.feedback import feedback
from preference.recall.index import Partition, RecallLimits
from store import turns, users
from store.database import Database, StoreUnavailable, migrations
from store.errors import Conflict, Invalid
from store.tables import metadata
from tests.preference.helpers import ANN, submit, turn, unit


def schema(c: Connection) -> dict[str, Any]:
    """Everything the inspector says about each table, in an order of its own."""
    seen = inspect(c)
    return {
        table: {
            "columns": [(col["name"], str(col["type"]), col["nullable"]) for col in seen.get_columns(table)],
            "primary key": seen.get_pk_constraint(table),
            "foreign keys": sorted(map(str, seen.get_foreign_keys(table))),
            "unique": sorted(map(str, seen.get_unique_constraints(table))),
            "indexes": sorted(map(str, seen.get_indexes(table))),
        }
        for table in sorted(seen.get_table_names())
        if table != "alembic_version"
    }


def test_the_migrations_make_exactly_the_tables(empty_url: str) -> None:
    database = Database(empty_url)
    assert database.pending()
    database.migrate()
    assert not database.pending()

    def compare(c: Connection) -> list[Any]:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))

    assert database.read_now(compare) == []
    migrated = database.read_now(schema)
    assert set(migrated) == set(metadata.tables)

    def remake(c: Connection) -> None:
        metadata.drop_all(c)
        metadata.create_all(c)

    database.write_now(remake)
    assert database.read_now(schema) == migrated
    database.close()


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.write_now(users.ensure, ANN)
    database.migrate()
    assert database.read_now(users.get, ANN) is not None


def test_what_an_older_store_learned_speaks_for_itself(empty_url: str) -> None:
    """Situations of before evidence: each weighs as one edit does, and recall finds what it found."""
    database = Database(empty_url)
    database.migrate()

    def of_before(c: Connection) -> str:
        users.ensure(c, ANN)
        made = preferences.create(c, ANN, "Be brief", "learned")
        context_rows.add(c, ANN, made.id, feedback_id="fb", text="a", embedder="e", vector=unit(1, 0))
        turns.record(c, ANN, turn("c"))
        accepted = submit(c, ANN, completion_id="c", edited_text="It is done.", body_sha256="0")
        feedback.resolve(c, ANN, accepted.id, "learned", None, [made.id])
        return accepted.id

    id = database.write_now(of_before)

    def back(c: Connection) -> None:
        steps = migrations()
        steps.attributes["connection"] = c
        command.downgrade(steps, "0007")
        assert "weight" not in {column["name"] for column in inspect(c).get_columns("contexts")}

    database.write_now(back)
    assert database.pending()
    database.migrate()
    (held,) = database.read_now(context_rows.by_embedder, ANN, "e")
    assert held.weight == 1.0
    assert database.read_now(context_rows.evidence_of, ANN) == {held.preference_id: [1.0]}
    partition = Partition(0, database.read_now(preferences.active, ANN), [held], 2)
    assert partition.elect(partition.query(unit(1, 0)), 10, RecallLimits()) == {0: 1.0}
    assert database.read_now(feedback.get, ANN, id).candidates == ()
    assert not database.read_now(turns.get, ANN, "c").cut
    database.close()


def test_a_database_of_a_newer_version_is_refused(empty_url: str) -> None:
    database = Database(empty_url)
    database.migrate()
    database.write_now(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    assert database.pending()
    with pytest.raises(Conflict, match="9999"):
        database.migrate()
    database.close()


def test_migrations_are_found_from_any_folder(tmp_path: Path) -> None:
    program = "from store.database import Database; d = Database('sqlite:///x/attune.db'); d.migrate(); d.close()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env=environment, check=True)
    file = tmp_path / "x" / "attune.db"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def half(c: Connection) -> None:
        users.ensure(c, ANN)
        raise LookupError

    with pytest.raises(LookupError):
        database.write_now(half)
    assert database.read_now(users.get, ANN) is None


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        database.read_now(users.ensure, ANN)
    database.write_now(users.ensure, ANN)  # the connection serves writers again


def test_a_read_sees_one_snapshot(database: Database) -> None:
    database.write_now(users.ensure, ANN)

    def revisions(c: Connection) -> set[int]:
        seen = set()
        for _ in range(3):
            user = users.get(c, ANN)
            assert user is not None
            seen.add(user.revision)
            thread = threading.Thread(target=database.write_now, args=(users.touch, ANN))
            thread.start()
            thread.join()
        return seen

    assert len(database.read_now(revisions)) == 1


async def test_concurrent_writes_all_count(database: Database) -> None:
    before = await database.write(users.ensure, ANN)
    await asyncio.gather(*(database.write(users.touch, ANN) for _ in range(40)))
    after = await database.read(users.get, ANN)
    assert after is not None
    assert after.revision == before.revision + 40


async def test_two_processes_make_a_user_once(database: Database, database_url: str) -> None:
    other = Database(database_url)
    made = await asyncio.gather(*(d.write(users.ensure, ANN) for d in [database, other] * 8))
    assert len({user.opaque_id for user in made}) == 1
    other.close()


def test_sqlite_is_durable_and_checked(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    database.migrate()

    def pragmas(c: Connection) -> list[Any]:
        return [c.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert database.read_now(pragmas) == ["wal", 2, 1]
    assert database.write_now(pragmas) == ["wal", 2, 1]
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "sqlite://", "sqlite:///:memory:"])
def test_an_unusable_url_is_named(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        Database(url)
    assert caught.value.param == "database_url"


def test_an_unreachable_database_says_so_without_the_password(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://me:secret@/name?host={tmp_path}")
    with pytest.raises(StoreUnavailable) as caught:
        database.read_now(users.get, ANN)
    assert "secret" not in caught.value.message
    database.close()


@pytest.mark.parametrize("place", ["file/attune.db", "file/below/attune.db", "file", f"{'x' * 300}.db"])
def test_a_file_that_cannot_be_a_database_says_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a database. " * 100)
    database = Database(f"sqlite:///{tmp_path / place}")
    with pytest.raises(StoreUnavailable, match="the database"):
        database.migrate()
    with suppress(StoreUnavailable):  # a file that is only missing is pending
        assert database.pending()
    database.close()
    assert (tmp_path / "file").read_text() == "not a database. " * 100


def test_a_mistake_of_ours_is_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(IntegrityError):
        database.write_now(lambda c: c.execute(text("INSERT INTO users (opaque_id) VALUES (NULL)")))


def test_what_a_driver_says_is_for_operators_alone() -> None:
    away = Database("postgresql+psycopg://secret-user:hush@127.0.0.1:9/attune")
    try:
        with pytest.raises(StoreUnavailable) as raised:
            away.read_now(lambda c: None)
    finally:
        away.close()
    assert raised.value.message == "The database is not available; try again shortly."
    assert "127.0.0.1" in str(raised.value)
    assert "hush" not in str(raised.value)


EXPANDS = re.compile(
    r"CREATE (TABLE|INDEX)|ALTER TABLE \w+ ADD COLUMN (?!.*NOT NULL)|ALTER TABLE \w+ ADD COLUMN .*DEFAULT"
    r"|ALTER TABLE \w+ ALTER COLUMN \S+ SET STATISTICS|(UPDATE|INSERT INTO) alembic_version|UPDATE \w+ SET bytes="
    r"|SELECT|SET LOCAL|LOCK TABLE|DROP INDEX",
)
"""What a server of the version before does not notice; what takes something away waits for the next version."""


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_migrations_since_0_1_only_expand(empty_url: str) -> None:
    database = Database(empty_url)
    engine = database._engine
    with engine.execution_options(begin="migrate").begin() as connection:
        config = migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")  # 0.1
    told: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def tell(_: object, __: object, statement: str, *___: object) -> None:
        told.append(" ".join(statement.split()))

    database.migrate()
    database.close()
    assert len(told) > 20
    assert [one for one in told if not EXPANDS.match(one)] == []
