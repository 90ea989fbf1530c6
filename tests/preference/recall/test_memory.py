"""What recall keeps in memory: bounded, and each text embedded once for its user."""

from collections.abc import Sequence

from preference import preferences
from preference.ports import Vectors
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from tests.preference.helpers import ANN, BOB, OTHER_ANN
from tests.preference.oracle import WordEmbedder
from tests.preference.recall.conftest import EMBEDDER, LIMITS, learn, texts


async def test_memory_is_bounded_by_the_least_recently_used(database: Database, recall: Recall) -> None:
    for owner in (ANN, BOB, OTHER_ANN):
        learn(database, owner, f"of {owner.tenant}", "a letter about rent")
        assert await texts(database, recall, owner, "a letter about rent") == [f"of {owner.tenant}"]
    assert len(recall._cache) == 2


class CountingEmbedder(WordEmbedder):
    """Keeps what it was asked to embed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return super().embed(texts)


async def test_a_text_is_embedded_once_for_its_user_and_anew_for_any_other(database: Database) -> None:
    embedder = CountingEmbedder()
    recall = Recall(database, embedder, LIMITS)
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(users.ensure, owner)
        learn(database, owner, "brief", "a letter about rent")
    for owner in (ANN, BOB, OTHER_ANN, ANN, BOB):
        assert await texts(database, recall, owner, "a letter about rent") == ["brief"]
    assert embedder.asked == ["a letter about rent"] * 3
    learn(database, ANN, "kind", "a letter about rent")  # another revision; the text is still the same
    await texts(database, recall, ANN, "a letter about rent")
    assert len(embedder.asked) == 3
    for number in range(40):
        await texts(database, recall, ANN, f"a letter about rent {number}")
    await texts(database, recall, ANN, "a letter about rent")
    assert len(embedder.asked) == 3 + 40 + 1


async def test_what_fits_is_never_embedded(database: Database) -> None:
    embedder = CountingEmbedder()
    recall = Recall(database, embedder, LIMITS)
    database.write_now(users.ensure, ANN)
    database.write_now(preferences.create, ANN, "be kind", "stated")
    assert await texts(database, recall, ANN, "a letter") == ["be kind"]
    await recall.settled()
    assert embedder.asked == []


async def test_memory_counts_what_was_stated(database: Database) -> None:
    recall = Recall(database, EMBEDDER, RecallLimits(budget=10))
    for owner in (ANN, BOB):
        database.write_now(users.ensure, owner)
        for number in range(4):
            database.write_now(preferences.create, owner, f"wish number {number}", "stated")
        await texts(database, recall, owner, "a letter")
    await recall.settled()
    assert recall._cache.size == 2 * (1 + 1 + 4)
    recall.forget(database.write_now(users.ensure, ANN).opaque_id)
    assert recall._cache.size == 1 + 1 + 4
