"""Rows of users, and that erasing one erases everything about it and nothing else."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from preference import context_rows, preferences
from store import turns, usage, users
from store.database import Database
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.rows import key, scope
from store.tables import adapters, cohort_members, metadata, spent_keys, user_tokens
from store.values import Value
from tests.preference.helpers import ANN, BOB, NOT_STORABLE, OTHER_ANN, submit, turn, unit

OWNED = [table for table in metadata.sorted_tables if "user_id" in table.c]


def fill(c: Connection, owner: Owner) -> None:
    """A row of ``owner`` in every table that has owners."""
    user = users.ensure(c, owner)
    usage.add_to_user(c, owner, user.opaque_id, 1, usage.Spent(1, 2, 3))
    turns.record(c, owner, turn("c-1"))
    edit = submit(c, owner, completion_id="c-1", edited_text="Done!", body_sha256="1")
    made = preferences.create(c, owner, "No greeting", "learned")
    context_rows.add(c, owner, made.id, feedback_id=edit.id, text="To Sam", embedder="e", vector=unit(1, 2))
    times = {"created_at": 1.0, "updated_at": 1.0, "learned_through": 1.0}
    c.execute(insert(adapters).values(**key(owner), version=1, state="ready", mode="adapter", report={}, **times))
    told = {"scopes": ["chat"], "created_at": 1.0, "expires_at": 2.0}
    c.execute(
        insert(user_tokens).values(
            **key(owner), id="tok-1", sha256=hashlib.sha256(repr(owner).encode()).hexdigest(), key_id="k", **told
        )
    )
    spent = {"key_sha256": "2", "body_sha256": "3", "answer": {}, "spent_at": 1.0}
    c.execute(insert(spent_keys).values(**key(owner), **spent))
    c.execute(insert(cohort_members).values(**key(owner), cohort_id="cohort-1", version=1, created_at=1.0))


def counts(c: Connection, owner: Owner) -> list[int]:
    return [c.execute(select(func.count()).where(scope(table, owner))).scalar_one() for table in OWNED]


def test_deleting_a_user_takes_every_row_and_no_other_users(database: Database) -> None:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(fill, owner)
        assert database.read_now(counts, owner) == [1] * len(OWNED)
    assert database.write_now(users.delete, ANN)
    assert not database.write_now(users.delete, ANN)
    assert database.read_now(counts, ANN) == [0] * len(OWNED)
    assert database.read_now(counts, BOB) == database.read_now(counts, OTHER_ANN) == [1] * len(OWNED)


def test_a_user_made_anew_is_another_to_caches(database: Database) -> None:
    first = database.write_now(users.ensure, ANN)
    assert database.write_now(users.ensure, ANN) == first
    database.write_now(users.delete, ANN)
    assert database.read_now(users.get, ANN) is None
    second = database.write_now(users.ensure, ANN)
    assert second.opaque_id != first.opaque_id
    assert second.revision != first.revision


def test_changes_are_kept_and_raise_the_revision(database: Database) -> None:
    before = database.write_now(users.ensure, ANN)
    other = database.write_now(users.ensure, OTHER_ANN)
    values = (Value(preference="Be brief"), Value(dimension="harmlessness", preference="No medical advice ✓"))
    database.write_now(users.set_standing_values, ANN, values)
    database.write_now(users.set_active_adapter, ANN, 4)
    database.write_now(users.touch, ANN)
    after = database.read_now(users.get, ANN)
    assert after == users.User(ANN, before.opaque_id, values, 4, before.revision + 3, before.created_at)
    assert database.read_now(users.get, OTHER_ANN) == other


def test_while_learning_is_paused_no_turn_and_no_feedback_is_stored(database: Database) -> None:
    for owner in (ANN, BOB):
        database.write_now(users.ensure, owner)
        database.write_now(turns.record, owner, turn("c-1"))
    before = database.read_now(users.get, ANN)
    database.write_now(users.set_paused, ANN, True)
    paused = database.read_now(users.get, ANN)
    assert before is not None
    assert paused == replace(before, paused=True, revision=before.revision + 1)
    given: dict[str, Any] = {"completion_id": "c-1", "edited_text": "Done!", "body_sha256": "1"}
    with pytest.raises(Conflict, match="paused") as caught:
        database.write_now(lambda c: submit(c, ANN, **given))
    assert caught.value.param == "user"
    with pytest.raises(NotFound):
        database.write_now(turns.record, ANN, turn("c-2"))
    assert sum(database.read_now(counts, ANN)) == 2  # the user and c-1
    database.write_now(lambda c: submit(c, BOB, **given))
    database.write_now(turns.record, BOB, turn("c-2"))
    database.write_now(users.set_paused, ANN, False)
    database.write_now(turns.record, ANN, turn("c-2"))
    database.write_now(lambda c: submit(c, ANN, **given))


def test_what_was_given_before_a_pause_is_answered_alike_when_it_comes_again(database: Database) -> None:
    database.write_now(users.ensure, ANN)
    database.write_now(turns.record, ANN, turn("c-1"))
    given: dict[str, Any] = {"completion_id": "c-1", "edited_text": "Done!", "body_sha256": "1", "idempotency_key": "k"}
    first = database.write_now(lambda c: submit(c, ANN, **given))
    database.write_now(users.set_paused, ANN, True)
    assert database.write_now(lambda c: submit(c, ANN, **given)) == first


def test_an_unknown_user_is_not_found(database: Database) -> None:
    for call in (
        lambda c: users.touch(c, ANN),
        lambda c: users.set_active_adapter(c, ANN, 1),
        lambda c: users.set_standing_values(c, ANN, []),
        lambda c: users.set_paused(c, ANN, True),
    ):
        with pytest.raises(NotFound) as caught:
            database.write_now(call)
        assert caught.value.param == "user"


@pytest.mark.parametrize("user", [*NOT_STORABLE, "", " ", "x" * 257])
def test_a_user_id_that_cannot_be_stored_is_named(database: Database, user: str) -> None:
    for call in (users.get, users.ensure, users.delete):
        with pytest.raises(Invalid) as caught:
            database.write_now(call, Owner("acme", user))
        assert caught.value.param == "user"


@pytest.mark.parametrize("text", NOT_STORABLE)
def test_a_value_that_cannot_be_stored_is_named(database: Database, text: str) -> None:
    database.write_now(users.ensure, ANN)
    values = [Value(preference="fine"), Value.model_construct(dimension="style", preference="x", description=text)]
    with pytest.raises(Invalid) as caught:
        database.write_now(users.set_standing_values, ANN, values)
    assert caught.value.param == "values[1].description"


def test_standing_values_are_bounded(database: Database) -> None:
    database.write_now(users.ensure, ANN)
    with pytest.raises(Invalid, match="64"):
        database.write_now(users.set_standing_values, ANN, [Value(preference=str(i)) for i in range(65)])
