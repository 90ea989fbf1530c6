"""Contexts vote for and against: the nearer and the newer count more, and a slip is outvoted."""

from collections.abc import Sequence

import numpy as np
import pytest

from preference import context_rows, preferences
from preference.context_rows import Context
from preference.preferences import Preference
from preference.recall.index import Partition, RecallLimits
from preference.recall.recall import Recall
from store.database import Database
from tests.preference.helpers import ANN
from tests.preference.recall.conftest import EMBEDDER, learn, say, texts


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
            context_rows.add, ANN, made, feedback_id=f"again{number}", text="a letter about rent",
            embedder=EMBEDDER.name, vector=EMBEDDER.embed(["a letter about rent"])[0],
        )  # fmt: skip
    learn(database, ANN, "slip", "a letter about rent")
    assert await texts(database, recall, ANN, "a letter about rent") == ["habit"]


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
