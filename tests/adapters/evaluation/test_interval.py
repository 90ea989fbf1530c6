import numpy as np
import pytest

from adapters.evaluation.interval import paired_interval


@pytest.mark.parametrize("edits", [6, 8, 12, 40])
def test_the_interval_covers_a_normal_mean(edits: int) -> None:
    rng = np.random.default_rng(edits)
    hits = 0
    for seed in range(300):
        _, (low, high) = paired_interval(rng.normal(0.3, 1.0, edits), seed=seed, resamples=500)
        hits += low <= 0.3 <= high
    assert 0.91 <= hits / 300 <= 0.99


def test_few_differences_are_bounded_by_themselves() -> None:
    mean, interval = paired_interval(np.array([-0.3, -0.1, -0.2, 0.1]))
    assert mean == pytest.approx(-0.125)
    assert interval == pytest.approx((-0.3, 0.1))
    assert paired_interval(np.array([0.5]))[1] == (0.5, 0.5)
