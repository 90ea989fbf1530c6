"""What a user stated applies, as far as the token budget goes."""

import time

from preference import context_rows, preferences
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from tests.preference.helpers import ANN, BOB
from tests.preference.recall.conftest import EMBEDDER, learn, texts
from tests.preference.recall.test_memory import CountingEmbedder


async def test_a_stated_preference_without_context_applies_everywhere(database: Database, recall: Recall) -> None:
    database.write_now(preferences.create, ANN, "always", "stated")
    assert await texts(database, recall, ANN, "anything") == ["always"]
    assert await texts(database, recall, BOB, "anything") == []


async def test_since_never_leaves_out_what_the_user_stated_or_locked(database: Database, recall: Recall) -> None:
    database.write_now(preferences.create, ANN, "stated", "stated")
    locked = learn(database, ANN, "locked", "a letter about rent", "same")
    learn(database, ANN, "learned", "a letter about rent", "same")
    database.write_now(preferences.change, ANN, locked, locked=True)
    future = time.time() + 60
    assert set(await texts(database, recall, ANN, "a letter about rent", since=future)) == {"stated", "locked"}


async def test_the_token_budget_cuts_the_list(database: Database, recall: Recall) -> None:
    for name in ("first", "second", "third"):
        learn(database, ANN, f"{name} {'x' * 150}", "a letter about rent", "same")
    found = await texts(database, recall, ANN, "a letter about rent")
    assert [text.split()[0] for text in found] == ["first"]


async def test_what_a_user_states_about_one_situation_applies_together(database: Database, recall: Recall) -> None:
    stated = ["bullets", "brief", "kind", "no emojis", "signed"]
    for text in stated:
        made = database.write_now(preferences.create, ANN, text, "stated")
        vector = EMBEDDER.embed(["a letter about rent"])[0]
        database.write_now(
            context_rows.add, ANN, made.id, feedback_id=None, text="a letter about rent",
            embedder=EMBEDDER.name, vector=vector,
        )  # fmt: skip
    assert sorted(await texts(database, recall, ANN, "a letter about rent")) == sorted(stated)


async def test_of_too_much_stated_the_likest_comes_in_the_order_of_age(database: Database) -> None:
    """Until the texts are embedded, which no request waits for, the older ones come."""
    embedder = CountingEmbedder()
    recall = Recall(database, embedder, RecallLimits(alike=0.5, budget=40))
    database.write_now(users.ensure, ANN)
    stated = [f"for {topic} give me plenty of detail" for topic in ("taxes", "horses", "cakes", "trains")]
    for text in stated:
        database.write_now(preferences.create, ANN, text, "stated")
    assert await texts(database, recall, ANN, "trains and horses") == stated[:3]
    await recall.settled()
    assert await texts(database, recall, ANN, "trains and horses, two trains") == [stated[0], stated[1], stated[3]]
    assert await texts(database, recall, ANN, "cakes and trains") == [stated[0], stated[2], stated[3]]
    asked = len(embedder.asked)
    database.write_now(preferences.create, ANN, "for boats give me plenty of detail", "stated")
    await texts(database, recall, ANN, "trains and horses")  # known by its text: only the new one is embedded
    await recall.settled()
    assert embedder.asked[asked:] == ["for boats give me plenty of detail"]


async def test_what_was_elected_comes_before_what_is_stated_for_everywhere(database: Database) -> None:
    recall = Recall(database, EMBEDDER, RecallLimits(alike=0.5, budget=25))
    database.write_now(users.ensure, ANN)
    for topic in ("taxes", "horses", "cakes"):
        database.write_now(preferences.create, ANN, f"for {topic} give me detail", "stated")
    learn(database, ANN, "brief", "a letter about rent")
    await texts(database, recall, ANN, "a letter about rent")
    await recall.settled()
    found = await texts(database, recall, ANN, "a letter about rent")
    assert found[-1] == "brief"
    assert len(found) == 3
