"""`attune lab kinds`: which recipe tells kinds of task apart best, on the halves that are for choosing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.edits.cases import Case, messages
from lab.recall_quality import Person
from preference.ports import Sentences, Vectors
from preference.recall.kind import KindEmbedder, Recipe, context_of

PRIORS = (0.5, 1.0, 2.0, 3.0, 4.0)
MISTAKEN = (0.0015, 0.002, 0.0025, 0.003, 0.004, 0.005)


@dataclass
class RememberingSentences:
    """Reads each text once, whatever is asked of it afterwards."""

    sentences: Sentences

    def __post_init__(self) -> None:
        self.name = self.sentences.name
        self._known: dict[str, tuple[Vectors, Vectors]] = {}

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """As the encoder itself."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, zip(*self.sentences.read(new), strict=True), strict=True))
        read = [self._known[text] for text in texts]
        return np.stack([form for form, _ in read]), np.stack([about for _, about in read])


def fit(sentences: Sentences, people: Sequence[Person], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Every recipe with its figures, best first: by the F1 of the pairs and of the everyday cases together."""
    remembering = RememberingSentences(sentences)
    found = [{**vars(recipe), **_figures(KindEmbedder(remembering, recipe), people, cases)} for recipe in _recipes()]
    return sorted(found, key=lambda figures: -figures["score"])


def _recipes() -> Iterable[Recipe]:
    own = Recipe()
    for prior in sorted({*PRIORS, own.prior}):
        for mistaken in sorted({*MISTAKEN, own.mistaken}):
            yield Recipe(prior, mistaken)


def _figures(embedder: KindEmbedder, people: Sequence[Person], cases: Sequence[Case]) -> dict[str, float]:
    """By the situation that is nearest in kind, alone."""

    def kinds(texts: Sequence[str]) -> Vectors:
        vectors = embedder.embed(texts)[:, : embedder.kinds]
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    right = applied = misled = asked = 0
    for person in people:
        held = kinds([s.context for s in person.situations])
        same = kinds([s.same for s in person.situations]) @ held.T
        near = kinds([s.near_miss for s in person.situations]) @ held.T
        came = same.max(axis=1) >= embedder.ALIKE
        fooled = near.max(axis=1) >= embedder.ALIKE
        right += int((came & (same.argmax(axis=1) == np.arange(len(held)))).sum())
        applied += int(came.sum() + fooled.sum())
        misled += int(fooled.sum())
        asked += len(held)
    requests, sames, others = (
        kinds([context_of(embedder, messages(getattr(case, name)))[0] for case in cases])
        for name in ("request", "same", "other")
    )
    same_share = float(((requests * sames).sum(axis=1) >= embedder.ALIKE).mean())
    other_share = float(((requests * others).sum(axis=1) >= embedder.ALIKE).mean())
    pairs, everyday = _f1(right / asked, right / max(1, applied)), _f1(same_share, 1 - other_share)
    figures = {
        "recall": right / asked, "precision": right / max(1, applied), "misled": misled / asked, "f1": pairs,
        "same": same_share, "other": other_share, "score": pairs + everyday,
    }  # fmt: skip
    return {name: round(value, 3) for name, value in figures.items()}


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0
