"""Rows of turns: what was stored comes back, to its owner alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from preference.feedback import edit_rows
from preference.prompt import compose
from store import turns, users
from store.database import Database
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.tables import turns as turns_table
from store.values import Value
from tests.preference.helpers import ANN, BOB, NOT_STORABLE, OTHER_ANN, submit, turn


@pytest.fixture
def store(database: Database) -> Database:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(users.ensure, owner)
    return database


def test_a_turn_comes_back_as_it_was(store: Database) -> None:
    store.write_now(turns.record, ANN, turn("c-1"))
    assert store.read_now(turns.get, ANN, "c-1") == turn("c-1")


def test_an_engine_may_answer_any_character(store: Database) -> None:
    odd = turn("c-1", 1.0, *NOT_STORABLE)
    store.write_now(turns.record, ANN, odd)
    assert store.read_now(turns.get, ANN, "c-1") == odd


def test_another_owners_turn_is_not_found(store: Database) -> None:
    store.write_now(turns.record, ANN, turn("c-1"))
    for owner, completion_id in [(BOB, "c-1"), (OTHER_ANN, "c-1"), (ANN, "c-2"), *((ANN, t) for t in NOT_STORABLE)]:
        with pytest.raises(NotFound) as caught:
            store.read_now(turns.get, owner, completion_id)
        assert caught.value.param == "completion_id"


def test_two_owners_may_have_the_same_completion_id(store: Database) -> None:
    store.write_now(turns.record, ANN, turn("c-1", 1.0, "for Ann"))
    store.write_now(turns.record, OTHER_ANN, turn("c-1", 1.0, "for the other"))
    assert store.read_now(turns.get, ANN, "c-1").answers == ["for Ann"]


def test_a_turn_is_recorded_once(store: Database) -> None:
    store.write_now(turns.record, ANN, turn("c-1"))
    with pytest.raises(Conflict) as caught:
        store.write_now(turns.record, ANN, turn("c-1", 2.0))
    assert caught.value.param == "completion_id"


def test_a_user_deleted_meanwhile_gets_no_turn(store: Database) -> None:
    store.write_now(users.delete, ANN)
    with pytest.raises(NotFound) as caught:
        store.write_now(turns.record, ANN, turn("c-1"))
    assert caught.value.param == "user"


def test_what_is_not_json_is_refused(store: Database) -> None:
    odd = replace(turn("c-1"), request=[{"role": "user", "content": float("nan")}])
    with pytest.raises(Invalid) as caught:
        store.write_now(turns.record, ANN, odd)
    assert caught.value.param == "messages"


def test_pages_hold_every_turn_once(store: Database) -> None:
    recorded = [turn(f"c-{i}", float(i // 2)) for i in range(7)]
    for one in reversed(recorded):
        store.write_now(turns.record, ANN, one)
    store.write_now(turns.record, BOB, turn("c-9"))
    found: list[turns.Turn] = []
    while page := store.read_now(turns.page, ANN, after=found[-1] if found else None, limit=3):
        found += page
    assert found == recorded


def test_an_erased_preference_leaves_the_turns_that_it_was_applied_to(store: Database) -> None:
    said = "Write\n- No greeting\n- No greeting at all"
    parts: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": said}]},
        {"role": "system", "content": said},
    ]
    kept = {"id": "pref-11", "text": "No greeting at all", "score": 0.5}
    for owner in (ANN, BOB):
        made = turn("c-1")
        both = [*made.applied_preferences, kept]
        store.write_now(turns.record, owner, replace(made, prompt=parts, applied_preferences=both))
        store.write_now(turns.record, owner, replace(turn("c-2"), prompt=parts, applied_preferences=[kept]))
    others = store.read_now(turns.page, BOB)
    store.write_now(turns.redact, ANN, ["pref-1", "pref_1"])
    first, second = store.read_now(turns.page, ANN)
    told = "Write\n- [erased]\n- No greeting at all"
    assert first.prompt == [
        {"role": "user", "content": [{"type": "text", "text": told}]}, {"role": "system", "content": told},
    ]  # fmt: skip
    assert first.applied_preferences == [kept]
    assert second == others[1]
    assert store.read_now(turns.page, BOB) == others


def test_feedback_that_comes_in_keeps_its_turn_from_being_pruned(store: Database) -> None:
    store.write_now(turns.record, ANN, turn("c-1"))
    stored, commits = threading.Event(), threading.Event()

    def accept(c: Connection) -> None:
        submit(c, ANN, completion_id="c-1", edited_text="Something else", body_sha256="0")
        stored.set()
        assert commits.wait(10)

    with ThreadPoolExecutor(2) as pool:  # two replicas
        accepting = pool.submit(store.write_now, accept)
        assert stored.wait(10)
        pruning = pool.submit(store.write_now, turns.prune, ANN, 1e12, 10)
        time.sleep(0.2)
        commits.set()
        accepting.result()
        assert pruning.result() == 0
    assert [edit.turn.completion_id for edit in store.read_now(edit_rows.edits, ANN)] == ["c-1"]
    assert store.write_now(turns.prune, Owner("acme", "nobody"), 1e12, 10) == 0


ASKED: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello", "name": "ann"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    {"role": "user", "content": [{"type": "text", "text": "And this?"}]},
]
VALUES = [Value(preference="Be brief")]


@pytest.mark.parametrize("first", range(len(ASKED)))
@pytest.mark.parametrize("system_role", [True, False])
@pytest.mark.parametrize("preferences", [[], ["Use bullets"]])
def test_a_prompt_is_stored_without_what_the_request_has(
    database: Database, first: int, system_role: bool, preferences: list[str]
) -> None:
    request = ASKED[first:]
    prompt = compose(request, VALUES, preferences, system_role=system_role)
    database.write_now(users.ensure, ANN)
    made = replace(turn("c-1", 1.0, "Hi"), request=request, prompt=prompt)
    database.write_now(turns.record, ANN, made)
    assert database.read_now(turns.get, ANN, "c-1") == made
    stored = str(database.read_now(lambda c: c.execute(select(turns_table.c.prompt)).scalar_one()))
    assert not [one for one in ("Be kind", "Hello", "tool_calls", "And this?") if one in stored]
    assert ("Be brief" in stored, "Use bullets" in stored) == (True, bool(preferences))


def test_prompts_that_were_stored_whole_are_read_as_they_are(database: Database) -> None:
    database.write_now(users.ensure, ANN)
    made = replace(turn("c-1", 1.0, "Hi"), request=ASKED, prompt=compose(ASKED, VALUES))
    database.write_now(turns.record, ANN, made)
    database.write_now(lambda c: c.execute(update(turns_table).values(prompt=made.prompt)))
    assert database.read_now(turns.get, ANN, "c-1") == made
    other = [{"role": "user", "content": "Quite another prompt"}]
    database.write_now(turns.record, ANN, replace(made, completion_id="c-2", prompt=other))
    assert database.read_now(turns.get, ANN, "c-2").prompt == other
