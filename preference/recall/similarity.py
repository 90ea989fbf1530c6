"""When two contexts of a user are alike: cosine, with what varies among contexts of one kind played down.

Contexts in which the same preferences held are of one kind. The directions in which such contexts differ (names,
days, topics) say nothing about the kind, so they are shrunk: within-class covariance normalisation (Hatch, Kajarekar,
Stolcke, Interspeech 2006) with a shrinkage for few examples. Until kinds repeat themselves, it is plain cosine.
"""

import math
from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from preference.ports import Vectors

NEWEST = 128
"""Contexts that are looked at: tastes change, and the work is bounded."""
DIRECTIONS = 32
FLOOR = 0.006
"""The variance within kinds at which a direction is shrunk by the square root of two."""
SAME = 0.85
"""The share of preferences that contexts of one kind have in common: beside six of them, one may be a leftover."""
MANY = 100
"""So many contexts of kinds that were seen before tell kinds apart as well as more of them would."""
PRIOR = 20
"""So many contexts without any difference are assumed beside those seen: a few say little."""


class Similarity:
    """The cosine of two contexts after a linear map, [dimension, dimension], that shrinks some directions.

    ``experience``, in [0, 1], says how well it tells kinds apart. The map is symmetric, so of the two it is applied
    twice to the one that is kept (``folded``), and a request needs only the ``length`` that the map would leave of it:
    their dot product, divided by it, is the similarity.
    """

    def __init__(self, vectors: Vectors, holds: Sequence[Set[str]]) -> None:
        """``vectors`` is [contexts, dimension], unit length, oldest first; ``holds`` what held in each."""
        self._lost = np.zeros((0, vectors.shape[1]), np.float32)
        residuals, repeated = _residuals(vectors[-NEWEST:], holds[-NEWEST:])
        self.experience = min(1.0, repeated / MANY)
        if residuals.any():
            # The Gram matrix has the directions of the residuals, for a fiftieth of the time that their SVD takes.
            energies, weights = np.linalg.eigh((residuals @ residuals.T).astype(np.float64))
            largest = [i for i in range(len(energies) - 1, -1, -1)[:DIRECTIONS] if energies[i] > 1e-6]
            directions = weights[:, largest].T @ residuals / np.sqrt(energies[largest])[:, None]
            variances = energies[largest] / (len(residuals) + PRIOR)
            self._lost = (np.sqrt(variances / (FLOOR + variances))[:, None] * directions).astype(np.float32)

    def folded(self, vectors: Vectors) -> Vectors:
        """``vectors``, [n, dimension] of unit length, as they are kept."""
        lost = vectors @ self._lost.T
        lengths = np.sqrt(1 - np.square(lost).sum(1, keepdims=True))
        return np.asarray((vectors - lost @ self._lost) / lengths, np.float32)

    def length(self, vector: Vectors) -> float:
        """What the map leaves of the length of ``vector``, [dimension], a unit vector."""
        lost = self._lost.dot(vector)
        return math.sqrt(1 - float(lost.dot(lost)))


def units(vectors: Vectors) -> Vectors:
    """``vectors``, [..., dimension], at unit length; one without a direction stays none."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9), np.float32)


def same_kind(holds: Sequence[Set[str]]) -> NDArray[np.bool_]:
    """Which contexts are of one kind, [contexts, contexts]: ``SAME`` of what held in either held in both."""
    column = {id: number for number, id in enumerate(sorted(set().union(*holds)))}
    held = np.zeros((len(holds), len(column)), np.float32)
    for row, ids in enumerate(holds):
        held[row, [column[id] for id in ids]] = 1
    both, each = held @ held.T, held.sum(1)
    return np.asarray(both >= SAME * (each[:, None] + each[None, :] - both))


def _residuals(vectors: Vectors, holds: Sequence[Set[str]]) -> tuple[NDArray[np.float32], int]:
    """Each vector less the mean of its kind, [contexts, dimension], and how many are of kinds seen more than once."""
    same = same_kind(holds).astype(np.float32)
    sizes = np.maximum(same.sum(1, keepdims=True), 1)
    return np.asarray(vectors - (same @ vectors) / sizes, np.float32), int((sizes > 1).sum())
