"""Another embedder than before: noticed, and what was embedded is brought over, each text to its own row."""

from collections.abc import Sequence

import numpy as np

from preference import context_rows, preferences
from preference.ports import Vectors
from preference.recall import embedding
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store import users
from store.database import Database
from store.owner import Owner
from tests.preference.helpers import ANN, BOB
from tests.preference.oracle import WordEmbedder


class Backwards:
    """Words as they are, in another order."""

    name = "backwards"
    dimension = WordEmbedder.dimension
    kinds = WordEmbedder.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        return WordEmbedder().embed(texts)[:, ::-1].copy()

    def goes_on(self, vector: Vectors) -> bool:
        return False


class Short(WordEmbedder):
    dimension = 2
    kinds = 2


def learn(database: Database, owner: Owner, text: str, context: str, embedder: WordEmbedder) -> None:
    database.write_now(users.ensure, owner)
    made = database.write_now(preferences.create, owner, text, "learned")
    id = f"fb of {text}"
    vector = embedder.embed([context])[0]
    database.write_now(
        context_rows.add, owner, made.id, feedback_id=id, text=context, embedder=embedder.name, vector=vector
    )


async def test_what_another_one_embedded_is_brought_over(database: Database) -> None:
    before, after = WordEmbedder(), Backwards()
    assert database.read_now(embedding.stranger, after) is None, "nothing is stored"
    for number in range(embedding.BATCH):
        learn(database, ANN, f"wish {number}", f"a letter about subject{number}", before)
    learn(database, BOB, "his own", "a letter about subject1", before)
    assert database.read_now(embedding.stranger, before) is None
    assert database.read_now(embedding.stranger, after) == before.name
    assert database.read_now(embedding.stranger, Short()) == before.name, "the same name, another length"
    found = database.read_now(embedding.some, after)
    database.write_now(embedding.bring_over, found, after, after.embed([one.text for one in found]))
    assert database.read_now(embedding.stranger, after) == before.name, "it was stopped half-way"
    rounds = 1
    while found := database.read_now(embedding.some, after):
        vectors = after.embed([one.text for one in found])
        database.write_now(embedding.bring_over, found, after, vectors)
        rounds += 1
    assert rounds == 2
    assert database.read_now(embedding.count, after) == 0
    assert database.read_now(embedding.stranger, after) is None
    for owner, expected in ((ANN, "wish 7"), (BOB, "his own")):
        user = database.read_now(users.get, owner)
        assert user is not None
        recall = Recall(database, after, RecallLimits(alike=0.1))
        about = "a letter about subject7" if owner == ANN else "a letter about subject1"
        assert [one.text for one in await recall.recall(user, about, k=1)] == [expected]


def test_who_was_erased_meanwhile_stays_so(database: Database) -> None:
    learn(database, ANN, "mine", "a letter", WordEmbedder())
    found = database.read_now(embedding.some, Backwards())
    database.write_now(users.delete, ANN)
    database.write_now(embedding.bring_over, found, Backwards(), np.zeros((1, 3), np.float32))
    assert database.read_now(users.get, ANN) is None
    assert database.read_now(embedding.count, Backwards()) == 0
