"""What two edits in a row end, and what they leave alone."""

import numpy as np
import pytest

from preference import drift
from preference.preferences import Context, Preference
from preference.recall import Partition

HERE = np.eye(3, dtype=np.float32)[0]


def away(likeness: float) -> np.ndarray:
    """A unit vector so much like ``HERE``."""
    return np.array([likeness, np.sqrt(1 - likeness**2), 0], np.float32)


def seen(*situations: tuple[str, np.ndarray]) -> Partition:
    """Situations, oldest first, each with the preferences that its letters name; ``fb-N`` told of the Nth."""
    held = [
        Context(letter, f"ctx-{number}-{letter}", f"fb-{number}", "", "e", vector, float(number))
        for number, (letters, vector) in enumerate(situations)
        for letter in letters
    ]
    ids = sorted({context.preference_id for context in held})
    return Partition(0, [Preference(id, id, "learned", "active", None, False, 0.0, 0.0) for id in ids], held, 3)


def ended(contradicted: str, *situations: tuple[str, np.ndarray]) -> list[int]:
    """What the last of ``situations`` ends."""
    return drift.ended(seen(*situations), HERE, f"fb-{len(situations) - 1}", set(contradicted))


def test_one_edit_may_be_a_slip() -> None:
    assert ended("a", ("a", HERE), ("a", HERE), ("b", HERE)) == []


def test_two_end_what_held_before() -> None:
    assert ended("a", ("a", HERE), ("a", HERE), ("b", HERE), ("b", HERE)) == [0, 1]


def test_two_of_other_kinds_are_no_taste() -> None:
    assert ended("a", ("a", HERE), ("c", HERE), ("b", HERE)) == []


@pytest.mark.parametrize(("likeness", "ends"), [(0.5, []), (0.6, [0])])
def test_only_situations_much_alike_end_each_other(likeness: float, ends: list[int]) -> None:
    assert ended("a", ("a", away(likeness)), ("b", HERE), ("b", HERE)) == ends


def test_a_kind_of_which_nothing_was_seen_since_ends_whole() -> None:
    assert ended("a", ("a", away(0.3)), ("a", HERE), ("b", HERE), ("b", HERE)) == [0, 1]


def test_a_kind_that_goes_on_elsewhere_ends_only_here() -> None:
    assert ended("a", ("a", HERE), ("b", HERE), ("a", away(0.3)), ("b", HERE)) == [0]


def test_a_kind_at_home_elsewhere_ends_only_where_a_slip_brought_it() -> None:
    elsewhere = [("a", away(0))] * 120
    assert ended("a", *elsewhere, ("a", HERE), ("b", HERE), ("b", HERE)) == [120]


def test_what_is_not_contradicted_stays() -> None:
    assert ended("a", ("ax", HERE), ("cy", HERE), ("bz", HERE), ("bz", HERE)) == [0]


def test_what_is_taken_away_and_not_replaced_ends_where_it_was_last_seen() -> None:
    partition = seen(("a", HERE), ("a", HERE))
    assert drift.ended(partition, HERE, "fb-9", {"a"}) == [1]
    assert drift.ended(partition, HERE, "fb-9", {"b"}) == []
    assert drift.ended(seen(("a", HERE), ("b", HERE)), HERE, "fb-9", {"a"}) == []
