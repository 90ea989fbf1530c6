"""The mean of paired differences and what is known of it, by the bootstrap."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_Z = NormalDist().inv_cdf(0.975)


def paired_interval(
    differences: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, tuple[float, float]]:
    """Mean of paired differences and its 95% bootstrap interval, by expanded percentiles.

    Plain percentiles are too narrow where there are few differences, by the factor that makes Student's t of the
    normal distribution and n - 1 of n (Hesterberg, arXiv 1411.5279, 3.3). With four or five the interval ends at the
    least and the greatest of them, or nearly so.
    """
    n = len(differences)
    picks = np.random.default_rng(seed).integers(0, n, (resamples, n))
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _t(n - 1)) if n > 1 else 0.0
    low, high = np.quantile(differences[picks].mean(axis=1), (tail, 1 - tail))
    return float(differences.mean()), (float(low), float(high))


def _t(freedom: int) -> float:
    """The 97.5% quantile of Student's t, by its expansion around the normal one (Abramowitz and Stegun, 26.7.5).

    Within 1% from three degrees of freedom on; below, too small.
    """
    z = _Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
