"""How edits add up: a slip is outvoted, two edits make a new taste, and nothing grows without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.evidence import HELD, LEAST, MOST, STRONGEST, TENTATIVE, of_lift, standing, total


def test_one_edit_makes_a_tentative_preference_and_two_make_one_that_is_held() -> None:
    assert standing(total([1.0]), 1) == "tentative"
    assert standing(total([1.0, 1.0]), 2) == "held"
    assert standing(total([STRONGEST]), 1) == "tentative", "however strong, it may be a slip"


def test_a_slip_is_outvoted() -> None:
    assert standing(total([1.0, 1.0, 1.0, -1.0]), 3) != "doubtful"
    assert standing(total([1.0, 1.0, 1.0, -1.0, 1.0]), 4) == "held"


def test_two_edits_end_a_habit_of_years() -> None:
    years = [1.0] * 200
    assert total([*years, -1.0]) >= TENTATIVE
    assert total([*years, -1.0, -1.0]) < TENTATIVE


def test_what_was_given_up_is_learned_again_by_two() -> None:
    assert total([*[-1.0] * 200, 1.0]) < TENTATIVE
    assert total([*[-1.0] * 200, 1.0, 1.0]) >= TENTATIVE


def test_nothing_said_is_nothing() -> None:
    assert total([]) == 0.0
    assert standing(0.0, 0) == "doubtful"


@given(st.lists(st.floats(-STRONGEST, STRONGEST), max_size=300))
def test_it_is_bounded(weights: list[float]) -> None:
    assert LEAST <= total(weights) <= MOST
    assert HELD <= MOST


@pytest.mark.parametrize(
    ("z", "weight"), [(1.0, 0.5), (3.0, 1.0), (100.0, STRONGEST), (-1.0, -0.5), (-100.0, -STRONGEST)]
)
def test_a_lift_weighs_by_its_spreads(z: float, weight: float) -> None:
    assert of_lift(z) == weight
