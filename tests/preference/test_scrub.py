"""What is deleted leaves the files too: every byte of them is read."""

import random
import secrets
import threading
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import JSON, LargeBinary, Text, text

from preference import context_rows, preferences
from preference.feedback import feedback
from store import turns, users
from store.database import Database
from store.owner import Owner
from store.tables import metadata
from tests.preference.helpers import submit, turn, unit

CALLERS_OWN = ("user_id", "completion_id", "idempotency_key")  # names that callers choose
SIZES = (10, 300, 3_000, 30_000)  # within a page, around one, on overflow pages


def fill(database: Database, owner: Owner, canary: str, seed: int) -> None:
    """Rows of every kind that hold the user's text, of many lengths; some are written over again."""
    rng = random.Random(seed)

    def words() -> str:
        return f"{canary} " * max(1, rng.choice(SIZES) // len(canary))

    for number in range(6):
        database.write_now(users.ensure, owner)
        database.write_now(turns.record, owner, turn(f"{canary}-{number}", float(number), words(), words()))
        accepted = database.write_now(
            submit, owner, completion_id=f"{canary}-{number}", edited_text=words(),
            idempotency_key=f"{canary}{number}", body_sha256="0",
        )  # fmt: skip
        database.write_now(feedback.resolve, owner, accepted.id, "nothing_learned", words()[:2000])
        made = database.write_now(preferences.create, owner, f"{canary} {number}", "stated")
        for _ in range(3):
            database.write_now(
                context_rows.add, owner, made.id, feedback_id=None, text=words(), embedder="e",
                vector=unit(1, 2),
            )  # fmt: skip
        database.write_now(preferences.change, owner, made.id, text=f"{canary} again {number}")
        if number % 2:
            database.write_now(preferences.delete, owner, made.id)


def holding(folder: Path, canary: str) -> list[str]:
    """The files with ``canary`` in their bytes."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]


@pytest.mark.parametrize("full", [False, True])
def test_sqlite_files_hold_nothing_of_an_erased_user(tmp_path: Path, sqlite_template: Path, full: bool) -> None:
    (tmp_path / "attune.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    canaries = {Owner("acme", secrets.token_hex(12)): secrets.token_hex(12) for _ in range(6)}
    threads = [threading.Thread(target=fill, args=(database, o, c, i)) for i, (o, c) in enumerate(canaries.items())]
    for thread in threads:  # together, so that their rows share pages
        thread.start()
    for thread in threads:
        thread.join()
    erased, kept = list(canaries)[::2], list(canaries)[1::2]
    for owner in erased:
        assert "attune.db-wal" in holding(tmp_path, canaries[owner])
        database.write_now(users.delete, owner)
    assert database.scrub_now(full=full)
    for owner in erased:
        assert not holding(tmp_path, canaries[owner])
        assert not holding(tmp_path, owner.user)
    for owner in kept:
        assert holding(tmp_path, canaries[owner]) == ["attune.db"]
        assert len(database.read_now(turns.page, owner)) == 6
    database.close()


def test_a_reader_in_the_way_is_said(tmp_path: Path, sqlite_template: Path) -> None:
    (tmp_path / "attune.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{tmp_path}/attune.db")
    other = Database(f"sqlite:///{tmp_path}/attune.db")
    owner = Owner("acme", "ann")
    database.write_now(users.ensure, owner)

    def meanwhile(c: sqlalchemy.Connection) -> bool:
        assert users.get(c, owner)
        database.write_now(users.delete, owner)
        return database.scrub_now()

    assert not other.read_now(meanwhile), "somebody still reads the old log"
    assert database.scrub_now()
    database.close()
    other.close()


def test_postgresql_samples_no_text_of_users(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    query = text(
        "SELECT attrelid::regclass::text, attname, attstattarget FROM pg_attribute "
        "JOIN pg_class ON pg_class.oid = attrelid WHERE relkind = 'r' AND attnum > 0"
    )
    targets = {(table, column): target for table, column, target in database.read_now(lambda c: c.execute(query).all())}
    database.close()
    of_users = [table for table in metadata.tables.values() if "user_id" in table.columns]
    texts = [
        (table.name, column.name)
        for table in of_users
        for column in table.columns
        if isinstance(column.type, Text | JSON | LargeBinary) or column.name in CALLERS_OWN
    ]
    assert len(texts) > len(of_users)
    assert [place for place in texts if targets[place] != 0] == []


def test_postgresql_tables_hold_nothing_of_an_erased_user(postgresql_url: str, postgresql: sqlalchemy.Engine) -> None:
    database = Database(postgresql_url)
    with postgresql.connect() as admin:
        data = Path(str(admin.execute(text("SHOW data_directory")).scalar()))
        admin.execute(text("ALTER SYSTEM SET wal_recycle = off"))
        admin.execute(text("SELECT pg_reload_conf()"))
    owner, canary = Owner("acme", secrets.token_hex(12)), secrets.token_hex(12)
    kept, other = Owner("acme", secrets.token_hex(12)), secrets.token_hex(12)
    fill(database, owner, canary, 1)
    fill(database, kept, other, 2)
    database.write_now(lambda c: c.execute(text("ANALYZE")))  # into the planner's statistics with it
    database.write_now(users.delete, owner)
    assert database.scrub_now()
    assert database.scrub_now(full=True)
    with postgresql.connect() as admin:  # what the manual asks of an operator
        for _ in range(2):
            admin.execute(text("CHECKPOINT"))
            admin.execute(text("SELECT pg_switch_wal()"))
        admin.execute(text("CHECKPOINT"))
        admin.execute(text("ALTER SYSTEM RESET wal_recycle"))
        admin.execute(text("SELECT pg_reload_conf()"))
    assert not holding(data, canary)
    assert not holding(data, owner.user)
    assert [name for name in holding(data, other) if name.startswith("base")]
    assert len(database.read_now(turns.page, kept)) == 6
    database.write_now(users.delete, kept)
    database.close()
