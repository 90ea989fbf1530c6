"""One owner's preferences and the FAISS index of their contexts, at one revision: how contexts vote."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import faiss
import numpy as np

from preference.context_rows import Context
from preference.evidence import ABSENT, ACCEPTED, COUNTED, FAVOUR, KEPT, LEAST, MOST, TENTATIVE
from preference.ports import Vectors
from preference.preferences import Preference
from preference.recall.similarity import Similarity, units

REACH = 32
"""So many of the nearest contexts are asked for their kind: what a request is about may be nearer in others."""
REACH_AGAINST = 5.0
"""What an edit says against a preference counts for requests so many times less near: tastes change for a kind."""


class Recalled(NamedTuple):
    """A preference that applies, with the cosine of its most similar context (1.0 when it applies everywhere)."""

    id: str
    text: str
    score: float


@dataclass(frozen=True)
class RecallLimits:
    """How contexts vote, and how much of the result is used.

    ``alike`` is the least cosine of kinds at which a context counts. Its weight falls by e for each ``spread`` of
    similarity below the nearest one. Spread grows by ``widening`` with experience: once kinds are told apart, the near
    ones outvote a slip that happens to be nearest. ``budget`` is in prompt tokens, one per three bytes, which
    overestimates English.
    """

    alike: float = 0.7
    spread: float = 0.02
    widening: float = 0.05
    budget: int = 600


class Query(NamedTuple):
    """A request's vector, [dimension], in whole numbers, and what its product with one kept is multiplied by.

    That product is the ``Similarity`` of its user; ``kind_factor`` is the same for the cosine of kinds. ``goes_on``
    says that the request is one about what was asked before.
    """

    vector: Vectors
    factor: float
    kind_factor: float
    goes_on: bool = False


class Partition:
    """One owner's preferences and their index at one revision. ``contexts`` are ordered oldest first.

    ``contexts`` are the ids of the feedback that told of them, or of the context; ``holds`` what held in each.
    """

    def __init__(
        self,
        revision: int,
        active: list[Preference],
        contexts: list[Context],
        dimension: int,
        kinds: int | None = None,
    ) -> None:
        """Of ``dimension`` the first ``kinds`` say of which kind a context is; all do without it."""
        self.revision = revision
        self._dimensions = dimension if kinds is None else kinds
        self.preferences = active
        grouped: dict[str, list[Context]] = {}
        for context in contexts:  # the preferences of one edit share its context
            grouped.setdefault(context.feedback_id or context.id, []).append(context)
        said_for = {context.preference_id for context in contexts if context.feedback_id is None}
        self.everywhere = [n for n, p in enumerate(active) if p.source == "stated" and p.id not in said_for]
        # The user said it, or made it fast: one vote is enough, and no adapter stands in for it.
        self._binding = {n for n, p in enumerate(active) if p.source == "stated" or p.locked}
        self.context_ids = list(grouped)
        shared: dict[frozenset[str], frozenset[str]] = {}  # one set for all contexts in which the same held
        sets = (frozenset(c.preference_id for c in told if c.weight > 0) for told in grouped.values())
        self.holds = [shared.setdefault(ids, ids) for ids in sets]
        # What a recall reads: numbers, for each id would be one more place in memory that the processor waits for.
        numbers = {p.id: n for n, p in enumerate(active)}
        said = (tuple((numbers[c.preference_id], c.weight) for c in told) for told in grouped.values())
        alike: dict[tuple[tuple[int, float], ...], tuple[tuple[int, float], ...]] = {}
        self._said = [alike.setdefault(one, one) for one in said]
        self._heard = [told[0].heard for told in grouped.values()]
        self._favour = [1 + FAVOUR * p.favour for p in active]
        self._costs = [len(p.text.encode()) // 3 + 2 for p in active]
        self.told: Vectors | None = None  # [everywhere, dimension], once their texts are embedded
        vectors = np.array([held[0].vector for held in grouped.values()], np.float32).reshape(-1, dimension)
        self._vectors = vectors
        kind = units(vectors[:, : self._dimensions])
        self._kind_step = _step(kind)
        self._kinds = np.rint(kind / self._kind_step).astype(np.int8)
        self._similarity = Similarity(vectors, self.holds)
        folded = self._similarity.folded(vectors)
        self._step = _step(folded)
        # A quarter of single precision's memory, and most of a search is waiting for memory; cosines keep three digits.
        whole = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index: Any = faiss.IndexScalarQuantizer(dimension, whole, faiss.METRIC_INNER_PRODUCT)
        _one_thread()
        # The newest first, as FAISS keeps the first of equally near ones: of a request that is made every day.
        self._index.add(np.rint(folded / self._step)[::-1])
        self._experience = self._similarity.experience

    def __len__(self) -> int:
        """How many contexts there are."""
        return len(self.holds)

    def query(self, vector: Vectors) -> Query:
        """A request, whose ``vector`` is [dimension], of any length, as it is looked for here."""
        unit = np.asarray(vector / (np.linalg.norm(vector) or 1), np.float32)
        step = _step(unit)
        kind = float(np.linalg.norm(unit[: self._dimensions])) or 1.0
        factor, kind_factor = step * self._step / self._similarity.length(unit), step * self._kind_step / kind
        return Query(np.rint(unit / step), factor, kind_factor)

    def elect(self, query: Query, k: int, limits: RecallLimits) -> dict[int, float]:
        """What the ``k`` nearest contexts of the same kind speak for: a number, and how alike in kind the nearest is.

        Evidence is added up from the oldest to the newest (`evidence.py`), each by how near it is; where a preference
        did not show, a little speaks against it. One that the user stated or locked needs to be spoken for once only.
        """
        scores = dict.fromkeys(self.everywhere, 1.0)
        near = self._of_kind(query, k, limits.alike)
        if not near:
            return scores
        nearest = max(similarity for similarity, *_ in near)
        spread = limits.spread + limits.widening * self._experience
        numbers = {number for _, row, _ in near for number, _ in self._said[row]}
        sums = dict.fromkeys(numbers, 0.0)
        likest: dict[int, float] = {}
        for similarity, row, kind in sorted(near, key=lambda one: one[1]):
            share, wide = (math.exp((similarity - nearest) / width) for width in (spread, REACH_AGAINST * spread))
            said = dict(self._said[row])
            kept = 1 - (1 - KEPT) * share
            heard = self._heard[row]
            for number in said if heard else numbers:
                weight = said.get(number, ABSENT)
                if weight > 0:  # however little that adds to the evidence: there it held
                    likest[number] = max(likest.get(number, 0.0), kind)
                    favour = self._favour[number]  # of signals, which end nothing by themselves
                    hint = weight < ACCEPTED
                    weight = weight * favour if hint else max(max(weight, TENTATIVE) * favour, TENTATIVE)
                elif number in said:
                    weight = max(weight, -COUNTED) * wide / share  # however strong, it may be a slip
                told = share * weight
                least = told if heard and weight >= TENTATIVE else LEAST  # what is said in words holds from then on
                sums[number] = max(least, min(MOST, kept * sums[number] + told))
        for number, sum in sums.items():
            if number not in scores and number in likest and (sum >= TENTATIVE or number in self._binding):
                scores[number] = min(1.0, round(likest[number], 3))  # rounding may exceed it
        return scores

    def knows(self, query: Query, limits: RecallLimits) -> bool:
        """Whether any context is of the kind of a request."""
        return bool(self._of_kind(query, 1, limits.alike))

    def recalled_somewhere(self, id: str, k: int, limits: RecallLimits) -> bool:
        """Whether some context that speaks for a preference would recall it today."""
        number = next(n for n, preference in enumerate(self.preferences) if preference.id == id)
        rows = [row for row, ids in enumerate(self.holds) if id in ids]
        return any(number in self.elect(self.query(self._vectors[row]), k, limits) for row in reversed(rows))

    def crowded(self, budget: int) -> bool:
        """Whether what was stated for everywhere does not fit the ``budget``."""
        return sum(self._costs[number] for number in self.everywhere) > budget

    def chosen(
        self, scores: Mapping[int, float], budget: int, since: float = 0.0, query: Query | None = None
    ) -> list[Recalled]:
        """Of the preferences elected what fits the ``budget``, best first, the older first among equals.

        What was stated for everywhere comes first, but gives way: to what was elected for this request, and to what of
        it is more like the ``query``. ``since`` leaves out learned ones not changed after that time, unless they are
        locked.
        """
        relevance: dict[int, float] = {}
        if self.told is not None and query is not None:
            relevance = dict(zip(self.everywhere, (self.told @ query.vector).tolist(), strict=True))
        everywhere = set(self.everywhere)
        kept: dict[str, int] = {}  # by text: two may say the same
        spent = 0
        for number in sorted(scores, key=lambda n: (n in everywhere, -relevance.get(n, 0.0), -scores[n], n)):
            preference = self.preferences[number]
            if preference.text in kept or (since and since >= preference.updated_at and number not in self._binding):
                continue
            spent += self._costs[number]
            if spent > budget:
                break
            kept[preference.text] = number
        best = sorted(kept.values(), key=lambda number: (-scores[number], number))
        return [Recalled(self.preferences[n].id, self.preferences[n].text, scores[n]) for n in best]

    def _of_kind(self, query: Query, k: int, alike: float) -> list[tuple[float, int, float]]:
        """Similarity, row and cosine of kinds of the ``k`` nearest contexts ``alike`` in kind, nearest first."""
        near = self._near(query, max(k, REACH) if k else 0, -math.inf)
        rows = [row for _, row in near]
        kinds = self._kinds[rows].astype(np.float32) @ query.vector[: self._dimensions] * query.kind_factor
        found = [(*one, kind) for one, kind in zip(near, kinds.tolist(), strict=True) if kind >= alike]
        # Of equally near ones the newest: FAISS's order among them is none.
        return sorted(found, key=lambda one: (-round(one[0], 3), -one[1]))[:k]

    def _near(self, query: Query, k: int, alike: float) -> list[tuple[float, int]]:
        """Similarity and row of the nearest contexts that are ``alike`` at least, nearest first."""
        if not len(self) or not k:
            return []
        _one_thread()
        k = min(k, len(self))
        products, rows = self._index.search(query.vector[None], k)
        found = zip(products[0].tolist(), rows[0].tolist(), strict=True)
        last = len(self) - 1
        return [(product * query.factor, last - row) for product, row in found if product * query.factor >= alike]


def _step(vectors: Vectors) -> float:
    """What one is in whole numbers of a signed byte that hold all of ``vectors``."""
    return float(np.abs(vectors).max(initial=0)) / 127 or 1.0


def _one_thread() -> None:
    """Have FAISS search in the thread that asks, and set it for that one: others wake up later than it is done."""
    faiss.omp_set_num_threads(1)
