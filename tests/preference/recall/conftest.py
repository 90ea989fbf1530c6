"""Recall over a few users, and what they learned."""

import pytest

from preference import context_rows, preferences
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from store.owner import Owner
from tests.preference.helpers import ANN, BOB, OTHER_ANN
from tests.preference.oracle import WordEmbedder

EMBEDDER = WordEmbedder()
LIMITS = RecallLimits(alike=0.5, budget=100)


@pytest.fixture
def recall(database: Database) -> Recall:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(users.ensure, owner)
    return Recall(database, EMBEDDER, LIMITS, capacity=6)


def learn(database: Database, owner: Owner, text: str, context: str, situation: str | None = None) -> str:
    made = database.write_now(preferences.create, owner, text, "learned")
    database.write_now(
        context_rows.add, owner, made.id, feedback_id=situation or made.id, text=context,
        embedder=EMBEDDER.name, vector=EMBEDDER.embed([context])[0],
    )  # fmt: skip
    return made.id


def say(database: Database, id: str, feedback_id: str, weight: float) -> None:
    """One more edit, in one situation, for or against a preference."""
    database.write_now(
        context_rows.add, ANN, id, feedback_id=feedback_id, text="a letter about rent", embedder=EMBEDDER.name,
        vector=EMBEDDER.embed(["a letter about rent"])[0], weight=weight,
    )  # fmt: skip


async def texts(
    database: Database, recall: Recall, owner: Owner, context: str, k: int = 5, since: float = 0.0
) -> list[str]:
    user = database.read_now(users.get, owner)
    assert user is not None
    return [r.text for r in await recall.recall(user, context, k=k, since=since)]
