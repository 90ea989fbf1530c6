"""Recall: nearest contexts of the same user, never anybody else's, never a deleted preference."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from preference import context_rows, preferences
from preference.context_rows import Context
from preference.ports import Vectors
from preference.preferences import Preference
from preference.recall.index import Partition, RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from tests.preference.helpers import ANN, BOB, OTHER_ANN
from tests.preference.oracle import WordEmbedder
from tests.preference.recall.conftest import EMBEDDER, LIMITS, learn, texts


async def test_what_the_nearest_contexts_hold_applies_and_what_unlike_ones_hold_does_not(
    database: Database, recall: Recall
) -> None:
    learn(database, ANN, "near", "a letter about rent and heating")
    learn(database, ANN, "far", "quarterly sales report")
    assert await texts(database, recall, ANN, "a letter about rent and heating to Sam") == ["near"]
    assert await texts(database, recall, ANN, "completely different words") == []


async def test_a_request_that_is_remembered_finds_what_a_new_one_finds(database: Database) -> None:
    """What its user learned meanwhile changes how alike it is to what was known."""
    database.write_now(users.ensure, ANN)
    asked = "a letter about rent to Max"
    old, new = (Recall(database, EMBEDDER, LIMITS) for _ in range(2))

    async def found(recall: Recall) -> list[tuple[str, float]]:
        user = database.read_now(users.get, ANN)
        assert user is not None
        return [(r.text, r.score) for r in await recall.recall(user, asked, k=5)]

    made = learn(database, ANN, "habit", "a letter about rent to Sam")
    (before,) = await found(old)
    for name in ("Ida", "Joe", "Lea", "Max"):
        context = f"a letter about rent to {name}"
        database.write_now(
            context_rows.add, ANN, made, feedback_id=name, text=context, embedder=EMBEDDER.name,
            vector=EMBEDDER.embed([context])[0],
        )  # fmt: skip
    (after,) = await found(old)
    assert after[1] > before[1] + 0.001, "names say nothing of a kind, once some were seen"
    assert await found(new) == [after]


async def test_no_user_sees_anothers(database: Database, recall: Recall) -> None:
    learn(database, ANN, "mine", "a letter about rent")
    for owner in (BOB, OTHER_ANN):
        assert await texts(database, recall, owner, "a letter about rent") == []


async def test_a_deleted_preference_is_gone_at_once(database: Database, recall: Recall) -> None:
    made = learn(database, ANN, "mine", "a letter about rent")
    assert await texts(database, recall, ANN, "a letter about rent") == ["mine"]
    database.write_now(preferences.delete, ANN, made)
    assert await texts(database, recall, ANN, "a letter about rent") == []


async def test_a_correction_shows_at_once(database: Database, recall: Recall) -> None:
    made = learn(database, ANN, "mine", "a letter about rent")
    await texts(database, recall, ANN, "a letter about rent")
    database.write_now(preferences.change, ANN, made, text="corrected")
    assert await texts(database, recall, ANN, "a letter about rent") == ["corrected"]


async def test_since_leaves_out_what_was_known_before(database: Database, recall: Recall) -> None:
    old = learn(database, ANN, "old", "a letter about rent", "same")
    moment = database.read_now(preferences.get, ANN, old).updated_at
    learn(database, ANN, "new", "a letter about rent", "same")
    assert await texts(database, recall, ANN, "a letter about rent", since=moment) == ["new"]
    database.write_now(
        context_rows.add, ANN, old, feedback_id="again", text="a report", embedder=EMBEDDER.name,
        vector=EMBEDDER.embed(["a report"])[0],
    )  # fmt: skip
    assert await texts(database, recall, ANN, "a letter about rent", since=moment) == ["new"], "confirmed, not changed"
    database.write_now(preferences.change, ANN, old, text="old, corrected")
    assert set(await texts(database, recall, ANN, "a letter about rent", since=moment)) == {"new", "old, corrected"}


async def test_vectors_of_another_embedder_are_left_out(database: Database, recall: Recall) -> None:
    made = database.write_now(preferences.create, ANN, "other space", "learned")
    vector = EMBEDDER.embed(["a letter"])[0]
    database.write_now(
        context_rows.add, ANN, made.id, feedback_id="f", text="a letter", embedder="other", vector=vector
    )
    assert await texts(database, recall, ANN, "a letter") == []


def test_no_score_exceeds_one_for_being_rounded() -> None:
    vectors = np.random.default_rng(1).standard_normal((100, 384), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    active = [Preference(f"p{n}", f"p{n}", "learned", "active", None, False, 0.0, 0.0) for n in range(100)]
    held = [Context(f"p{n}", f"c{n}", None, "", "e", vectors[n], float(n)) for n in range(100)]
    partition = Partition(0, active, held, 384)
    scores = [partition.elect(partition.query(vector), 1, RecallLimits())[n] for n, vector in enumerate(vectors)]
    assert max(scores) == 1.0
    assert min(scores) > 0.997


@pytest.mark.parametrize("dimension", [3, 100, 384])
def test_likeness_is_the_cosine_to_three_digits(dimension: int) -> None:
    vectors = np.random.default_rng(dimension).standard_normal((60, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    held = [Context(f"p{n}", f"c{n}", None, "", "e", vectors[n], float(n)) for n in range(59)]
    active = [Preference(f"p{n}", f"p{n}", "learned", "active", None, False, 0.0, 0.0) for n in range(59)]
    partition = Partition(0, active, held, dimension)
    cosines = vectors[:59] @ vectors[59]
    for scale in (1, 7):  # a request's length says nothing
        for least in (-0.1, 0.0, 0.05, 0.3):
            query = partition.query(scale * vectors[59])
            found = {row for cosine, row in partition._near(query, len(partition), least)}
            assert set(np.flatnonzero(cosines > least + 0.005)) <= found <= set(np.flatnonzero(cosines > least - 0.005))


def test_a_search_is_of_the_thread_that_asks_whichever_that_is() -> None:
    """OpenMP keeps a number for each thread, and others would wake up later than the search is done."""

    def threads() -> int:
        partition = Partition(
            0, [Preference("p", "p", "learned", "active", None, False, 0.0, 0.0)],
            [Context("p", "c", None, "", "e", np.eye(3, dtype=np.float32)[0], 0.0)], 3,
        )  # fmt: skip
        assert partition.elect(partition.query(np.eye(3, dtype=np.float32)[0]), 1, RecallLimits()) == {0: 1.0}
        return int(faiss.omp_get_max_threads())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(threads).result() == 1


class Following(WordEmbedder):
    """Words, of which "shorter" alone goes on with what was asked before."""

    def goes_on(self, vector: Vectors) -> bool:
        return bool(np.array_equal(vector, self.embed(["shorter"])[0]))


async def test_a_conversation_is_about_what_was_asked_last_that_does_not_go_on(database: Database) -> None:
    recall = Recall(database, Following(), LIMITS)
    database.write_now(users.ensure, ANN)
    learn(database, ANN, "brief", "a letter about rent")
    learn(database, ANN, "metric", "a soup of carrots")
    user = database.write_now(users.ensure, ANN)

    async def found(*texts: str) -> list[str]:
        said = [{"role": "user", "content": text} for text in texts]
        return [recalled.text for recalled in await recall.recall(user, said, k=5)]

    assert await found("a letter about rent", "shorter") == ["brief"]
    assert await found("a letter about rent", "shorter", "shorter") == ["brief"]
    assert await found("a letter about rent", "a soup of carrots", "shorter") == ["metric"]
    assert await found("a letter about rent", "something else altogether") == []
    assert await found("shorter") == []
    assert await found() == []
