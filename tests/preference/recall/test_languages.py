"""A preference of form, learned from a German request, comes with a French one of the same kind, where both are alike.

ZeroNLG (arXiv 2303.06458) carries a task over from one language to others by one space of sentences; here that is the
space of kinds, by the bundled encoder, which was made for English: ``bench/languages.py`` says how seldom it holds.
"""

import json

import pytest

from preference import context_rows, preferences
from preference.recall.embedder import SentenceEmbedder
from preference.recall.index import RecallLimits
from preference.recall.kind import REQUESTS, KindEmbedder
from preference.recall.recall import Recall
from store import users
from store.database import Database
from tests.preference.helpers import ANN

GERMAN = "Schreib eine Funktion in Python, die eine Liste sortiert."
FRENCH = "Écris une fonction en Python qui additionne deux matrices."
OTHER = "Résume cet article de journal."
WISH = "Keine Kommentare im Code"


@pytest.fixture(scope="module")
def kinds() -> KindEmbedder:
    return KindEmbedder(SentenceEmbedder())


async def test_a_preference_of_form_crosses_languages(database: Database, kinds: KindEmbedder) -> None:
    known = {text for line in REQUESTS.read_text().splitlines() for text in json.loads(line)["requests"]}
    assert not known & {GERMAN, FRENCH, OTHER}
    database.write_now(users.ensure, ANN)
    made = database.write_now(preferences.create, ANN, WISH, "learned")
    database.write_now(
        context_rows.add, ANN, made.id, feedback_id="fb", text=GERMAN, embedder=kinds.name,
        vector=kinds.embed([GERMAN])[0],
    )  # fmt: skip
    user = database.read_now(users.get, ANN)
    assert user is not None
    recall = Recall(database, kinds, RecallLimits())
    assert [found.text for found in await recall.recall(user, FRENCH, k=5)] == [WISH]
    assert await recall.recall(user, OTHER, k=5) == []
