"""Recall: nearest contexts of the same user, never anybody else's, never a deleted preference."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from preference import preferences, users
from preference.database import Database
from preference.owner import Owner
from preference.ports import Vectors
from preference.preferences import Context, Preference
from preference.recall import Partition, Recall, RecallLimits
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
        preferences.add_context, owner, made.id, feedback_id=situation or made.id, text=context,
        embedder=EMBEDDER.name, vector=EMBEDDER.embed([context])[0],
    )  # fmt: skip
    return made.id


def say(database: Database, id: str, feedback_id: str, weight: float) -> None:
    """One more edit, in one situation, for or against a preference."""
    database.write_now(
        preferences.add_context, ANN, id, feedback_id=feedback_id, text="a letter about rent", embedder=EMBEDDER.name,
        vector=EMBEDDER.embed(["a letter about rent"])[0], weight=weight,
    )  # fmt: skip


async def texts(
    database: Database, recall: Recall, owner: Owner, context: str, k: int = 5, since: float = 0.0
) -> list[str]:
    user = database.read_now(users.get, owner)
    assert user is not None
    return [r.text for r in await recall.recall(user, context, k=k, since=since)]


async def test_what_the_nearest_contexts_hold_applies_and_what_unlike_ones_hold_does_not(
    database: Database, recall: Recall
) -> None:
    learn(database, ANN, "near", "a letter about rent and heating")
    learn(database, ANN, "far", "quarterly sales report")
    assert await texts(database, recall, ANN, "a letter about rent and heating to Sam") == ["near"]
    assert await texts(database, recall, ANN, "completely different words") == []


async def test_the_nearer_context_outvotes_the_less_near(database: Database, recall: Recall) -> None:
    learn(database, ANN, "less near", "a letter about rent and heating")
    learn(database, ANN, "nearer", "a letter about rent and heating to Sam in the garden")
    assert await texts(database, recall, ANN, "a letter about rent and heating to Sam in the garden") == ["nearer"]
    assert await texts(database, recall, ANN, "a letter about rent and heating to Sam in the garden", k=1) == ["nearer"]
    assert await texts(database, recall, ANN, "a letter about rent and heating to Sam in the garden", k=0) == []


async def test_of_equally_near_contexts_the_newest_wins(database: Database, recall: Recall) -> None:
    """What did not show in later ones fades; one more edit may have had no need to show what held before."""
    learn(database, ANN, "older", "a letter about rent")
    learn(database, ANN, "newer", "a letter about rent")
    assert await texts(database, recall, ANN, "a letter about rent") == ["older", "newer"]
    learn(database, ANN, "newest", "a letter about rent")
    assert await texts(database, recall, ANN, "a letter about rent") == ["newest"]


async def test_what_speaks_against_a_preference_ends_it_there_after_two_edits(
    database: Database, recall: Recall
) -> None:
    made = learn(database, ANN, "habit", "a letter about rent")
    for number, weight in enumerate((1.0, 1.0, -1.0)):
        say(database, made, f"fb{number}", weight)
    assert await texts(database, recall, ANN, "a letter about rent") == ["habit"], "one edit may be a slip"
    say(database, made, "again", -1.0)
    assert await texts(database, recall, ANN, "a letter about rent") == []


async def test_what_the_user_locked_is_recalled_where_anything_speaks_for_it(
    database: Database, recall: Recall
) -> None:
    made = learn(database, ANN, "habit", "a letter about rent")
    database.write_now(preferences.change, ANN, made, locked=True)
    for number in range(3):
        say(database, made, f"fb{number}", -1.0)
    assert await texts(database, recall, ANN, "a letter about rent") == ["habit"]


async def test_what_only_speaks_against_a_preference_recalls_it_nowhere(database: Database, recall: Recall) -> None:
    made = database.write_now(preferences.create, ANN, "never", "learned").id
    say(database, made, "fb", -1.0)
    assert await texts(database, recall, ANN, "a letter about rent") == []


async def test_two_contexts_outvote_one_newer_slip(database: Database, recall: Recall) -> None:
    made = learn(database, ANN, "habit", "a letter about rent")
    for number in range(2):
        database.write_now(
            preferences.add_context, ANN, made, feedback_id=f"again{number}", text="a letter about rent",
            embedder=EMBEDDER.name, vector=EMBEDDER.embed(["a letter about rent"])[0],
        )  # fmt: skip
    learn(database, ANN, "slip", "a letter about rent")
    assert await texts(database, recall, ANN, "a letter about rent") == ["habit"]


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
            preferences.add_context, ANN, made, feedback_id=name, text=context, embedder=EMBEDDER.name,
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


async def test_a_stated_preference_without_context_applies_everywhere(database: Database, recall: Recall) -> None:
    database.write_now(preferences.create, ANN, "always", "stated")
    assert await texts(database, recall, ANN, "anything") == ["always"]
    assert await texts(database, recall, BOB, "anything") == []


async def test_since_leaves_out_what_was_known_before(database: Database, recall: Recall) -> None:
    old = learn(database, ANN, "old", "a letter about rent", "same")
    moment = database.read_now(preferences.get, ANN, old).updated_at
    learn(database, ANN, "new", "a letter about rent", "same")
    assert await texts(database, recall, ANN, "a letter about rent", since=moment) == ["new"]
    database.write_now(
        preferences.add_context, ANN, old, feedback_id="again", text="a report", embedder=EMBEDDER.name,
        vector=EMBEDDER.embed(["a report"])[0],
    )  # fmt: skip
    assert await texts(database, recall, ANN, "a letter about rent", since=moment) == ["new"], "confirmed, not changed"
    database.write_now(preferences.change, ANN, old, text="old, corrected")
    assert set(await texts(database, recall, ANN, "a letter about rent", since=moment)) == {"new", "old, corrected"}


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


async def test_vectors_of_another_embedder_are_left_out(database: Database, recall: Recall) -> None:
    made = database.write_now(preferences.create, ANN, "other space", "learned")
    vector = EMBEDDER.embed(["a letter"])[0]
    database.write_now(
        preferences.add_context, ANN, made.id, feedback_id="f", text="a letter", embedder="other", vector=vector
    )
    assert await texts(database, recall, ANN, "a letter") == []


async def test_memory_is_bounded_by_the_least_recently_used(database: Database, recall: Recall) -> None:
    for owner in (ANN, BOB, OTHER_ANN):
        learn(database, owner, f"of {owner.tenant}", "a letter about rent")
        assert await texts(database, recall, owner, "a letter about rent") == [f"of {owner.tenant}"]
    assert len(recall._known) == 2


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


async def test_what_a_user_states_about_one_situation_applies_together(database: Database, recall: Recall) -> None:
    stated = ["bullets", "brief", "kind", "no emojis", "signed"]
    for text in stated:
        made = database.write_now(preferences.create, ANN, text, "stated")
        vector = EMBEDDER.embed(["a letter about rent"])[0]
        database.write_now(
            preferences.add_context, ANN, made.id, feedback_id=None, text="a letter about rent",
            embedder=EMBEDDER.name, vector=vector,
        )  # fmt: skip
    assert sorted(await texts(database, recall, ANN, "a letter about rent")) == sorted(stated)


def test_a_slip_that_is_nearest_is_outvoted_once_kinds_are_known() -> None:
    def elected(times: int) -> set[str]:
        """What applies where a slip of another kind is nearest, after each of two kinds was seen so many times."""
        asked, less = np.array([1, 0, 0], np.float32), np.array([0.95, np.sqrt(1 - 0.95**2), 0], np.float32)
        seen = [("here", less), ("there", np.array([0, 0, 1], np.float32))] * times + [("there", asked)]
        held = [Context(id, f"c{n}", f"fb-{n}", "", "e", vector, float(n)) for n, (id, vector) in enumerate(seen)]
        active = [Preference(id, id, "learned", "active", None, False, 0.0, 0.0) for id in ("here", "there")]
        partition = Partition(0, active, held, 3)
        return {active[number].id for number in partition.elect(partition.query(asked), 10, RecallLimits())}

    assert elected(3) == {"there"}
    assert elected(60) == {"here"}


@pytest.mark.parametrize("times", [3, 30])
def test_two_edits_end_a_habit_of_a_request_that_is_made_every_day(times: int) -> None:
    """More often than the nearest that are looked at: of equally near ones these are the newest."""
    here = np.array([1, 0, 0], np.float32)
    said = [("old", 1.0, n) for n in range(times)]
    said += [(id, weight, n) for n in (times, times + 1) for id, weight in (("old", -1.0), ("new", 1.0))]
    held = [Context(id, f"c{n}{id}", f"fb-{n}", "", "e", here, float(n), weight) for id, weight, n in said]
    active = [Preference(id, id, "learned", "active", None, False, 0.0, 0.0) for id in ("old", "new")]
    partition = Partition(0, active, held, 3)
    assert partition.elect(partition.query(here), 10, RecallLimits()) == {1: 1.0}


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
    assert recall._size == sum(known.size for known in recall._known.values()) == 2 * (1 + 1 + 4)
    recall.forget(database.write_now(users.ensure, ANN).opaque_id)
    assert recall._size == 1 + 1 + 4


def _elected(said: Sequence[tuple[str, str, float, bool]], favour: float = 0.0) -> set[str]:
    """What applies after situations of one kind, oldest first: preference, feedback, weight, by a comment or not."""
    here = np.array([1, 0, 0], np.float32)
    held = [Context(id, f"c{n}", at, "", "e", here, float(n), w, heard) for n, (id, at, w, heard) in enumerate(said)]
    ids = dict.fromkeys(id for id, *_ in said)
    active = [Preference(id, id, "learned", "active", None, False, 0.0, 0.0, favour=favour) for id in ids]
    partition = Partition(0, active, held, 3)
    return {active[number].id for number in partition.elect(partition.query(here), 10, RecallLimits())}


def test_a_comment_says_nothing_of_what_it_does_not_speak_of() -> None:
    assert _elected([("a", "fb-1", 0.5, True), ("b", "fb-2", 0.5, True)]) == {"a", "b"}
    assert _elected([("a", "fb-1", 1.0, False), ("b", "fb-2", 0.5, True)]) == {"a", "b"}
    assert _elected([("a", "fb-1", 0.7, False), ("b", "fb-2", 0.24, True), ("b", "fb-3", 0.24, True)]) == {"a"}
    assert _elected([("a", "fb-1", 0.7, False), ("b", "fb-2", 1.0, False)]) == {"b"}, "an edit speaks of the whole text"


def test_signals_alone_end_nothing() -> None:
    assert _elected([("a", "fb-1", 0.5, True)], favour=-1.0) == {"a"}
    assert _elected([("a", "fb-1", 0.24, True)], favour=1.0) == set(), "nor make anything"
