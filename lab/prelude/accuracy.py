"""Whether an arm wrote by the right kind's preferences, as PRELUDE asks: is the used text closest to the true one?"""

from collections.abc import Iterable, Sequence

import numpy as np

from lab.prelude.log import Line
from preference.ports import Embedder, Vectors


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

    def _is_right(self, line: Line, truths: dict[str, Sequence[str]]) -> bool:
        used = self._vector(line.preferences)
        likeness = {kind: float(used @ self._vector(wishes)) for kind, wishes in truths.items()}
        own = likeness.pop(line.kind)
        return own > max(likeness.values(), default=-1.0)

    def _vector(self, phrases: Sequence[str]) -> Vectors:
        mean = np.mean([self._vectors[phrase] for phrase in phrases], axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


def _truths(chain: Sequence[Line], number: int) -> dict[str, Sequence[str]]:
    """What was wanted of each kind at a round: what its latest round until then says, else its first."""
    truths: dict[str, Sequence[str]] = {}
    for line in chain:
        if line.number <= number or line.kind not in truths:
            truths[line.kind] = line.wants
    return truths
