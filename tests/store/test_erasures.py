"""Tombstones: one for each erased user, nameless, and for a time."""

import time

import pytest
from sqlalchemy import Connection, insert, select

from store import erasures, users
from store.database import Database
from store.owner import Owner
from store.tables import erasures as erasures_table
from tests.preference.helpers import ANN, BOB


def test_an_erased_user_leaves_a_tombstone_that_names_nobody(database: Database) -> None:
    ann, bob = database.write_now(users.ensure, ANN), database.write_now(users.ensure, BOB)
    begun = time.time()
    database.write_now(users.delete, ANN)
    assert database.read_now(erasures.since, begun - 1) == [ann.opaque_id]
    assert database.read_now(erasures.since, time.time() + 60) == []
    assert database.read_now(erasures.among, {ann.opaque_id, bob.opaque_id, "of nobody"}) == {ann.opaque_id}
    rows = database.read_now(lambda c: c.execute(select(erasures_table)).all())
    assert [set(row._fields) for row in rows] == [{"opaque_id", "erased_at"}]


def test_nobody_to_erase_leaves_no_tombstone(database: Database) -> None:
    assert not database.write_now(users.delete, ANN)
    assert database.read_now(erasures.since, 0.0) == []


def test_an_erasure_that_fails_leaves_no_tombstone(database: Database) -> None:
    user = database.write_now(users.ensure, ANN)

    def stopped(c: Connection) -> None:
        users.delete(c, ANN)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        database.write_now(stopped)
    assert database.read_now(users.get, ANN) == user
    assert database.read_now(erasures.since, 0.0) == []


def test_old_tombstones_go_with_the_next_one(database: Database) -> None:
    old = time.time() - erasures.KEPT_SECONDS - 60
    database.write_now(lambda c: c.execute(insert(erasures_table).values(opaque_id="old", erased_at=old)))
    young = database.write_now(users.ensure, ANN)
    database.write_now(users.delete, ANN)
    assert database.read_now(erasures.since, 0.0) == [young.opaque_id]


def test_many_ids_are_looked_up_in_pieces(database: Database) -> None:
    owners = [Owner("acme", f"user-{i}") for i in range(3)]
    erased = {database.write_now(users.ensure, owner).opaque_id for owner in owners}
    for owner in owners:
        database.write_now(users.delete, owner)
    others = {f"nobody-{i}" for i in range(1200)}
    assert database.read_now(erasures.among, erased | others) == erased
