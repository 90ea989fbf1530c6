"""Whether an arm wrote by the right kind's preferences, as PRELUDE asks: is the used text closest to the true one?

Beside it, how alike the two are as sets: by conditional transport, where each phrase goes to those of the other set,
most of it to the most alike ones, and back (PatchCT, arXiv 2307.09066). A mean vector forgives what is missing; this
does not.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lab.prelude.log import Line
from preference.ports import Embedder, Vectors

NEAR = 0.1
"""How much less alike a phrase may be and still get a third as much of what is carried."""


class Accuracy:
    """Compares texts by the cosine of their phrases' mean vectors; each phrase is embedded once.

    The paper compares by BERTScore (arXiv 2404.15269).
    """

    def __init__(self, embedder: Embedder, lines: Iterable[Line]) -> None:
        phrases = sorted({phrase for line in lines for phrase in (*line.wants, *line.preferences)})
        self._vectors = dict(zip(phrases, embedder.embed(phrases), strict=True))

    def of(self, chain: Sequence[Line]) -> list[bool]:
        """For each round that had preferences: whether its own kind's truth is closest to them; a tie is no."""
        return [self._is_right(line, _truths(chain, line.number)) for line in chain if line.preferences and line.wants]

    def transported(self, chain: Sequence[Line]) -> list[float]:
        """For each round that had preferences: the similarity of what was used to what was wanted, 1 for equal sets."""
        rounds = [line for line in chain if line.preferences and line.wants]
        return [transport(self._vectors_of(line.preferences), self._vectors_of(line.wants)) for line in rounds]

    def _vectors_of(self, phrases: Sequence[str]) -> Vectors:
        return np.stack([self._vectors[phrase] for phrase in phrases])

    def _is_right(self, line: Line, truths: dict[str, Sequence[str]]) -> bool:
        used = self._vector(line.preferences)
        similarity = {kind: float(used @ self._vector(wishes)) for kind, wishes in truths.items()}
        own = similarity.pop(line.kind)
        return own > max(similarity.values(), default=-1.0)

    def _vector(self, phrases: Sequence[str]) -> Vectors:
        mean = np.mean([self._vectors[phrase] for phrase in phrases], axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def transport(one: Vectors, other: Vectors) -> float:
    """The mean cosine of conditional transport there and back, of two sets of unit vectors, [phrases, dimension]."""
    similarity = (one @ other.T).astype(np.float64)
    return float((_carried(similarity) + _carried(similarity.T)) / 2)


def _carried(similarity: NDArray[np.float64]) -> float:
    """Each row's cosines, weighed by where it goes: the softmax of the cosines."""
    weights = np.exp((similarity - similarity.max(axis=1, keepdims=True)) / NEAR)
    return float(((weights * similarity).sum(axis=1) / weights.sum(axis=1)).mean())


def _truths(chain: Sequence[Line], number: int) -> dict[str, Sequence[str]]:
    """What was wanted of each kind at a round: what its latest round until then says, else its first."""
    truths: dict[str, Sequence[str]] = {}
    for line in chain:
        if line.number <= number or line.kind not in truths:
            truths[line.kind] = line.wants
    return truths
