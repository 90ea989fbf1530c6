"""What outcomes say: nothing of their confounders, what their cause is worth, and nothing while there are few."""

import numpy as np
import pytest

from lab.outcomes import EFFECT, simulate
from preference.feedback.outcomes import LEAST, Outcome, adjusted, confounders, is_control, scores


@pytest.mark.parametrize("seed", range(1, 9))
def test_the_cause_is_recovered_where_a_naive_reading_learns_the_confounder(seed: int) -> None:
    found = simulate(seed)
    assert found["naive"] < 0 < EFFECT, "longer answers do better, and the cause makes them shorter"
    assert 0.8 <= found["share"] <= 1.2, found
    assert found["adjusted_difference"] > 0
    better = found["length_of_the_better_half"]
    assert better["naive"] > 1.1
    assert abs(better["adjusted"] - 1) < abs(better["naive"] - 1)


def test_outcomes_that_are_all_alike_say_nothing() -> None:
    known = [Outcome(1.0, 100, 0.0, "m", 0, True)] * LEAST
    values = np.array([one.value for one in known])
    scaled = adjusted(values, confounders(known), np.ones((LEAST, 1)))
    assert not scaled.any()
    assert np.isfinite(confounders(known)).all()


def test_no_number_outweighs_the_others() -> None:
    values = np.array([1.0, 2.0, 2.0, 3.0, 1e300])
    assert scores(values) == pytest.approx(scores(np.array([1.0, 2.0, 2.0, 3.0, 4.0])))
    assert np.isfinite(adjusted(scores(values), np.ones((5, 1)), np.zeros((5, 1)))).all()


def test_a_share_of_conversations_is_left_as_it_is_the_same_all_day() -> None:
    openings = [f"Write to person {number}" for number in range(2000)]
    dealt = [is_control("u", opening, 0.25, 1000.0) for opening in openings]
    assert 0.2 < sum(dealt) / len(dealt) < 0.3
    assert dealt == [is_control("u", opening, 0.25, 80_000.0) for opening in openings]
    assert dealt != [is_control("u", opening, 0.25, 90_000.0) for opening in openings]
    assert not any(is_control("u", opening, 0.0, 1000.0) for opening in openings)
