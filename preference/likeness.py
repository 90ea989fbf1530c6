"""When two situations of a user are alike: cosine, with what varies among situations of one kind played down.

Situations in which the same preferences held are of one kind. The directions in which such situations differ (names,
days, topics) say nothing about the kind, so they are shrunk: within-class covariance normalisation (Hatch, Kajarekar,
Stolcke, Interspeech 2006) with a shrinkage for few examples. Until kinds repeat themselves, it is plain cosine.
"""

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from preference.ports import Vectors

NEWEST = 128
"""Situations that are looked at: tastes change, and the work is bounded."""
DIRECTIONS = 32
FLOOR = 0.006
"""The variance within kinds at which a direction is shrunk by the square root of two."""
PRIOR = 20
"""So many situations without any difference are assumed beside those seen: a few say little."""


class Likeness:
    """A map of unit vectors to unit vectors, [n, dimension] or [dimension], whose dot product is the likeness."""

    def __init__(self, vectors: Vectors, holds: Sequence[Set[str]]) -> None:
        """``vectors`` is [situations, dimension], oldest first; ``holds`` what held in each."""
        self._directions: NDArray[np.float32] | None = None
        residuals = _residuals(vectors[-NEWEST:], holds[-NEWEST:])
        if not residuals.any():
            return
        # The Gram matrix has the same directions as the residuals, for a fiftieth of the time that their SVD takes.
        energies, weights = np.linalg.eigh((residuals @ residuals.T).astype(np.float64))
        largest = [i for i in range(len(energies) - 1, -1, -1)[:DIRECTIONS] if energies[i] > 1e-6]
        directions = weights[:, largest].T @ residuals / np.sqrt(energies[largest])[:, None]
        variances = energies[largest] / (len(residuals) + PRIOR)
        self._directions = np.ascontiguousarray(directions, np.float32)
        self._shrunk = (1 - np.sqrt(FLOOR / (FLOOR + variances))).astype(np.float32)

    def __call__(self, vectors: Vectors) -> Vectors:
        """The mapped vectors."""
        if self._directions is None:
            return vectors
        moved = vectors - ((vectors @ self._directions.T) * self._shrunk) @ self._directions
        return np.asarray(moved / np.linalg.norm(moved, axis=-1, keepdims=True), np.float32)


def _residuals(vectors: Vectors, holds: Sequence[Set[str]]) -> NDArray[np.float32]:
    """Each vector less the mean of its kind, [situations, dimension]; zero where a kind has one.

    Two situations are of one kind when more held in both than in one of them alone.
    """
    column = {id: number for number, id in enumerate(sorted(set().union(*holds)))}
    held = np.zeros((len(holds), len(column)), np.float32)
    for row, ids in enumerate(holds):
        held[row, [column[id] for id in ids]] = 1
    both, each = held @ held.T, held.sum(1)
    same = (3 * both > each[:, None] + each[None, :]).astype(np.float32)
    return np.asarray(vectors - (same @ vectors) / np.maximum(same.sum(1, keepdims=True), 1), np.float32)
