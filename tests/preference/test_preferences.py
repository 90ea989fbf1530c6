"""Rows of preferences and contexts: each change is kept, raises the revision, and stays with its owner."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from preference import context_rows, preferences
from preference.context_rows import Context
from preference.preferences import Preference
from store import users
from store.database import Database
from store.errors import AttuneError, Conflict, Invalid, NotFound
from store.owner import Owner
from tests.preference.helpers import ANN, BOB, NOT_STORABLE, OTHER_ANN, unit


@pytest.fixture
def store(database: Database) -> Database:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(users.ensure, owner)
    return database


def create(store: Database, text: str = "No greeting", owner: Owner = ANN) -> Preference:
    return store.write_now(preferences.create, owner, text, "learned")


def add_context(store: Database, id: str, text: str = "To Sam", embedder: str = "e", owner: Owner = ANN) -> Context:
    return store.write_now(
        context_rows.add, owner, id, feedback_id="fb-1", text=text, embedder=embedder, vector=unit(3, 4)
    )


def test_a_preference_is_one_safe_line(store: Database) -> None:
    made = store.write_now(preferences.create, ANN, " No\n<greeting>, no <|im_end|> ", "stated")
    assert made.text == "No <greeting>, no ‹|im_end|>"
    assert (made.source, made.status, made.locked, made.superseded_by) == ("stated", "active", False, None)
    assert store.read_now(preferences.get, ANN, made.id) == made


def test_all_of_them_oldest_first(store: Database) -> None:
    made = [create(store, str(i)) for i in range(12)]
    create(store, owner=BOB)
    create(store, owner=OTHER_ANN)
    assert store.read_now(preferences.all_of, ANN) == made
    assert store.read_now(preferences.active, ANN) == made


def test_a_superseded_one_is_no_longer_active(store: Database) -> None:
    old, new = create(store, "Long"), create(store, "Short")
    add_context(store, old.id)
    kept = add_context(store, new.id)
    ended = store.write_now(preferences.supersede, ANN, old.id, new.id)
    assert (ended.status, ended.superseded_by) == ("superseded", new.id)
    assert ended.updated_at > new.updated_at
    assert [p.id for p in store.read_now(preferences.active, ANN)] == [new.id]
    assert [p.id for p in store.read_now(preferences.all_of, ANN)] == [old.id, new.id]
    assert [context.id for context in store.read_now(context_rows.by_embedder, ANN, "e")] == [kept.id]
    with pytest.raises(Conflict):
        store.write_now(preferences.change, ANN, old.id, text="Longer")


def test_a_locked_one_is_not_superseded_but_its_user_may_correct_it(store: Database) -> None:
    made = create(store)
    assert store.write_now(preferences.change, ANN, made.id, locked=True).locked
    with pytest.raises(Conflict):
        store.write_now(preferences.supersede, ANN, made.id, None)
    corrected = store.write_now(preferences.change, ANN, made.id, text="Greet by name")
    assert (corrected.text, corrected.locked, corrected.status) == ("Greet by name", True, "active")


def test_a_deleted_one_is_gone_and_what_it_superseded_does_not_come_back(store: Database) -> None:
    old, new = create(store, "Long"), create(store, "Short")
    add_context(store, new.id)
    store.write_now(preferences.supersede, ANN, old.id, new.id)
    store.write_now(preferences.delete, ANN, new.id)
    assert store.read_now(preferences.active, ANN) == []
    assert store.read_now(context_rows.by_embedder, ANN, "e") == []
    assert [(p.id, p.superseded_by) for p in store.read_now(preferences.all_of, ANN)] == [(old.id, None)]
    for call in (preferences.get, context_rows.of):
        with pytest.raises(NotFound):
            store.read_now(call, ANN, new.id)


def test_a_context_comes_back_with_its_vector(store: Database) -> None:
    made = create(store)
    first, second = add_context(store, made.id), add_context(store, made.id, "To Kim", "another")
    found = store.read_now(context_rows.by_embedder, ANN, "e")
    assert [(c.id, c.preference_id, c.text, c.feedback_id) for c in found] == [(first.id, made.id, "To Sam", "fb-1")]
    assert found[0].vector.dtype == np.float32
    np.testing.assert_array_equal(found[0].vector, unit(3, 4))
    assert [c.id for c in store.read_now(context_rows.of, ANN, made.id)] == [first.id, second.id]
    assert store.read_now(preferences.get, ANN, made.id).updated_at == made.updated_at


def test_situations_are_bounded_by_dropping_the_oldest_of_the_commonest_kind_whole(store: Database) -> None:
    common, beside, rare = create(store), create(store), create(store)

    def hold(c: Connection, situation: str, *held: preferences.Preference) -> None:
        for preference in held:
            context_rows.add(
                c, ANN, preference.id, feedback_id=situation, text=situation, embedder="e", vector=unit(1, 0)
            )
        context_rows.bound(c, ANN)

    def many(c: Connection) -> None:
        hold(c, "once", common, rare)
        for i in range(context_rows.MAX_CONTEXTS + 2):
            hold(c, f"{i:03}", common, beside)

    store.write_now(many)
    texts = {
        preference.id: [context.text for context in store.read_now(context_rows.of, ANN, preference.id)]
        for preference in (common, beside, rare)
    }
    kept = [f"{i:03}" for i in range(3, context_rows.MAX_CONTEXTS + 2)]
    assert texts == {common.id: ["once", *kept], beside.id: kept, rare.id: ["once"]}


def test_what_was_learned_and_holds_nowhere_any_more_ends_and_what_the_user_said_stays(store: Database) -> None:
    stated = store.write_now(preferences.create, ANN, "Said", "stated")
    locked, learned = create(store, "Locked"), create(store)
    store.write_now(preferences.change, ANN, locked.id, locked=True)

    def many(c: Connection) -> None:
        place: dict[str, Any] = {"text": "a", "embedder": "e", "vector": unit(1, 0)}
        context_rows.add(c, ANN, stated.id, feedback_id=None, **place)
        for one in (locked, learned):
            context_rows.add(c, ANN, one.id, feedback_id="first", **place)
        for number in range(context_rows.MAX_CONTEXTS):
            other = preferences.create(c, ANN, f"other {number}", "learned")
            context_rows.add(c, ANN, other.id, feedback_id=f"fb-{number}", **place)
            context_rows.bound(c, ANN)

    store.write_now(many)
    assert store.read_now(preferences.get, ANN, learned.id).status == "superseded"
    assert store.read_now(preferences.get, ANN, locked.id).status == "active"
    assert not store.read_now(context_rows.of, ANN, locked.id)
    (kept,) = store.read_now(context_rows.of, ANN, stated.id)
    assert kept.feedback_id is None
    assert len(store.read_now(preferences.active, ANN)) == context_rows.MAX_CONTEXTS + 2


def test_active_preferences_are_bounded(store: Database) -> None:
    first = store.write_now(preferences.create, ANN, "one", "stated", limit=1)
    with pytest.raises(Conflict, match="already has 1"):
        store.write_now(preferences.create, ANN, "two", "stated", limit=1)
    store.write_now(preferences.supersede, ANN, first.id, None)
    store.write_now(preferences.create, ANN, "two", "stated", limit=1)


def test_every_mutation_raises_the_revision(store: Database) -> None:
    id = create(store).id
    mutations: list[Callable[[Connection], object]] = [
        lambda c: preferences.create(c, ANN, "another", "stated"),
        lambda c: context_rows.add(c, ANN, id, feedback_id=None, text="t", embedder="e", vector=unit(1)),
        lambda c: preferences.change(c, ANN, id, locked=False),
        lambda c: preferences.supersede(c, ANN, id, None),
        lambda c: preferences.delete(c, ANN, id),
    ]
    for mutation in mutations:
        before, other = store.read_now(users.get, ANN), store.read_now(users.get, OTHER_ANN)
        store.write_now(mutation)
        after = store.read_now(users.get, ANN)
        assert before is not None
        assert after is not None
        assert after.revision > before.revision
        assert store.read_now(users.get, OTHER_ANN) == other


@pytest.mark.parametrize("text", ["", " \n", "\u200b", *NOT_STORABLE, "x" * 401])
def test_a_text_that_cannot_be_a_preference_is_named(store: Database, text: str) -> None:
    made = create(store)
    for call in (
        lambda c: preferences.create(c, ANN, text, "stated"),
        lambda c: preferences.change(c, ANN, made.id, text=text),
    ):
        with pytest.raises(Invalid) as caught:
            store.write_now(call)
        assert caught.value.param == "text"
    assert store.read_now(preferences.all_of, ANN) == [made]


@pytest.mark.parametrize(("text", "vector", "param"), [("a\x00", [1.0], "context"), ("a", [2.0], "vector")])
def test_a_context_that_cannot_be_stored_is_named(store: Database, text: str, vector: list[float], param: str) -> None:
    made = create(store)
    with pytest.raises(Invalid) as caught:
        store.write_now(
            context_rows.add,
            ANN,
            made.id,
            feedback_id=None,
            text=text,
            embedder="e",
            vector=np.array(vector, dtype=np.float32),
        )
    assert caught.value.param == param


def test_somebody_elses_preference_is_not_found(store: Database) -> None:
    theirs = create(store, owner=OTHER_ANN)
    mine = create(store)
    add_context(store, theirs.id, owner=OTHER_ANN)
    calls: list[Callable[[Connection], object]] = [
        lambda c: preferences.get(c, ANN, theirs.id),
        lambda c: preferences.get(c, ANN, "a\x00"),
        lambda c: context_rows.of(c, ANN, theirs.id),
        lambda c: preferences.change(c, ANN, theirs.id, text="mine"),
        lambda c: preferences.supersede(c, ANN, theirs.id, None),
        lambda c: preferences.supersede(c, ANN, mine.id, theirs.id),
        lambda c: preferences.delete(c, ANN, theirs.id),
        lambda c: context_rows.add(c, ANN, theirs.id, feedback_id=None, text="t", embedder="e", vector=unit(1)),
    ]
    kept = store.read_now(preferences.all_of, OTHER_ANN)
    for call in calls:
        with pytest.raises(NotFound) as caught:
            store.write_now(call)
        assert caught.value.param == "id"
    assert store.read_now(preferences.all_of, OTHER_ANN) == kept
    assert len(store.read_now(context_rows.of, OTHER_ANN, theirs.id)) == 1


def test_nothing_is_made_for_a_deleted_user(store: Database) -> None:
    store.write_now(users.delete, ANN)
    with pytest.raises(AttuneError) as caught:
        create(store)
    assert caught.value.param == "user"


def test_what_feedback_taught_is_taken_back(store: Database) -> None:
    taught = [create(store, text) for text in ("by nothing else", "by another edit", "corrected", "locked")]
    taught.append(store.write_now(preferences.create, ANN, "stated", "stated"))
    for preference in taught:
        add_context(store, preference.id)
    other = store.write_now(
        context_rows.add, ANN, taught[1].id, feedback_id="fb-2", text="To Ann", embedder="e", vector=unit(3, 4)
    )
    store.write_now(preferences.change, ANN, taught[2].id, text="corrected by the user")
    store.write_now(preferences.change, ANN, taught[3].id, locked=True)
    foreign = create(store, owner=OTHER_ANN)
    add_context(store, foreign.id, owner=OTHER_ANN)
    before = store.read_now(users.get, ANN)
    store.write_now(context_rows.withdraw, ANN, ["fb-1", "fb-0"])
    after = store.read_now(users.get, ANN)
    assert before is not None
    assert after is not None
    assert after.revision > before.revision
    assert [p.id for p in store.read_now(preferences.active, ANN)] == [p.id for p in taught[1:]]
    assert [c.id for c in store.read_now(context_rows.by_embedder, ANN, "e")] == [other.id]
    assert len(store.read_now(context_rows.by_embedder, OTHER_ANN, "e")) == 1
