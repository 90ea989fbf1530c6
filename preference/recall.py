"""Which preferences apply to a request: those that the most similar contexts of the same user vote for.

One FAISS index per owner over all situations, in a byte a dimension, derived from rows and rebuilt when the user's
revision moves, so a deleted preference cannot come back; a bounded LRU of them. CIPHER merges the preferences of the
k nearest contexts (arXiv 2404.15269); here each of those contexts votes for the preferences that held in it, the
nearer and the newer with more weight.
"""

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import faiss
import numpy as np
from sqlalchemy import Connection

from preference import preferences
from preference.database import Database
from preference.likeness import Likeness
from preference.ports import Embedder, Vectors
from preference.preferences import CONTEXT_CHARACTERS, Context, Preference
from preference.users import User

OnRecall = Callable[[int, int], None]

_REMEMBERED_TEXTS = 32  # of a user: an app that retries, or asks for another answer, repeats the last one


class Recalled(NamedTuple):
    """A preference that applies, with the cosine of its most similar context (1.0 when it applies everywhere)."""

    id: str
    text: str
    score: float


@dataclass(frozen=True)
class RecallLimits:
    """How contexts vote, and how much of the result is used.

    ``alike`` is the least cosine at which a context has a vote. Its weight falls by e for each ``spread`` of cosine
    below the nearest one, and by ``recency`` for each newer context among those that vote. Spread grows by
    ``widening`` with experience: once kinds are told apart, the near ones outvote a slip that happens to be nearest.
    A preference applies with at least half of all weight. ``budget`` is in prompt tokens, one per three bytes, which
    overestimates English.
    """

    alike: float = 0.2
    spread: float = 0.03
    widening: float = 0.07
    recency: float = 0.8
    budget: int = 600


class Query(NamedTuple):
    """A request's vector, [dimension], in whole numbers, and what its product with one kept is multiplied by.

    That product is the ``Likeness`` of its user.
    """

    vector: Vectors
    factor: float


class Partition:
    """One owner's preferences and their index at one revision. ``contexts`` are ordered oldest first.

    ``situations`` are the ids of the feedback that told of them, or of the context; ``holds`` what held in each.
    """

    def __init__(self, revision: int, active: list[Preference], contexts: list[Context], dimension: int) -> None:
        self.revision = revision
        self.preferences = active
        situations: dict[str, list[Context]] = {}
        for context in contexts:  # the preferences of one edit share its situation
            situations.setdefault(context.feedback_id or context.id, []).append(context)
        said_for = {context.preference_id for context in contexts if context.feedback_id is None}
        self.everywhere = [n for n, p in enumerate(active) if p.source == "stated" and p.id not in said_for]
        # The user said it, or made it fast: one vote is enough, and no adapter stands in for it.
        self._binding = {n for n, p in enumerate(active) if p.source == "stated" or p.locked}
        self.situations = list(situations)
        shared: dict[frozenset[str], frozenset[str]] = {}  # one set for all situations in which the same held
        sets = (frozenset(context.preference_id for context in held) for held in situations.values())
        self.holds = [shared.setdefault(ids, ids) for ids in sets]
        # What a recall reads: numbers, for each id would be one more place in memory that the processor waits for.
        numbers = {p.id: n for n, p in enumerate(active)}
        numbered = {ids: tuple(sorted(numbers[id] for id in ids)) for ids in shared}
        self._held = [numbered[ids] for ids in self.holds]
        self._costs = [len(p.text.encode()) // 3 + 2 for p in active]
        vectors = np.array([held[0].vector for held in situations.values()], np.float32).reshape(-1, dimension)
        self._likeness = Likeness(vectors, self.holds)
        folded = self._likeness.folded(vectors)
        self._step = _step(folded)
        # A quarter of single precision's memory, and most of a search is waiting for memory; cosines keep three digits.
        whole = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index: Any = faiss.IndexScalarQuantizer(dimension, whole, faiss.METRIC_INNER_PRODUCT)
        _one_thread()
        self._index.add(np.rint(folded / self._step))
        self._experience = self._likeness.experience

    def __len__(self) -> int:
        """How many situations there are."""
        return len(self.holds)

    def query(self, vector: Vectors) -> Query:
        """A request, whose ``vector`` is [dimension], of any length, as it is looked for here."""
        unit = np.asarray(vector / (np.linalg.norm(vector) or 1), np.float32)
        step = _step(unit)
        return Query(np.rint(unit / step), step * self._step / self._likeness.length(unit))

    def elect(self, query: Query, k: int, limits: RecallLimits) -> dict[int, float]:
        """What the ``k`` nearest contexts elect: a preference's number, and the likeness of the nearest that holds it.

        A preference that the user stated or locked needs one vote only.
        """
        scores = dict.fromkeys(self.everywhere, 1.0)
        near = self._near(query, k, limits.alike)
        if not near:
            return scores
        nearest = near[0][0]
        spread = limits.spread + limits.widening * self._experience
        newest = sorted([row for _, row in near], reverse=True)
        votes: dict[int, float] = {}
        likest: dict[int, float] = {}
        total = 0.0
        for likeness, row in near:
            weight = math.exp((likeness - nearest) / spread) * limits.recency ** newest.index(row)
            total += weight
            for number in self._held[row]:
                if number in votes:
                    votes[number] += weight
                else:
                    votes[number], likest[number] = weight, likeness
        for number, weight in votes.items():
            if number not in scores and (weight >= total / 2 or number in self._binding):
                scores[number] = min(1.0, round(likest[number], 3))  # rounding may exceed it
        return scores

    def chosen(self, scores: Mapping[int, float], budget: int, since: float = 0.0) -> list[Recalled]:
        """Of the preferences elected what fits the ``budget``, best first, the older first among equals.

        ``since`` leaves out learned ones not changed after that time, unless they are locked.
        """
        kept: dict[str, Recalled] = {}  # by text: two may say the same
        spent = 0
        for number in sorted(scores, key=lambda number: (-scores[number], number)):
            preference = self.preferences[number]
            if preference.text in kept or (since and since >= preference.updated_at and number not in self._binding):
                continue
            spent += self._costs[number]
            if spent > budget:
                break
            kept[preference.text] = Recalled(preference.id, preference.text, scores[number])
        return list(kept.values())

    def alike(self, vector: Vectors, least: float) -> list[int]:
        """The situations, oldest first, whose likeness to ``vector``, [dimension], is at least ``least``."""
        return sorted(row for _, row in self._near(self.query(vector), len(self), least))

    def _near(self, query: Query, k: int, alike: float) -> list[tuple[float, int]]:
        """Likeness and row of the nearest situations that are ``alike`` at least, nearest first."""
        if not len(self) or not k:
            return []
        _one_thread()
        k = min(k, len(self))
        products, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        # What `search` calls: all that it does besides takes as long again.
        self._index.search_c(1, faiss.swig_ptr(query.vector), k, faiss.swig_ptr(products), faiss.swig_ptr(rows))
        found = zip(products.tolist(), rows.tolist(), strict=True)
        return [(product * query.factor, row) for product, row in found if product * query.factor >= alike]


@dataclass(frozen=True, slots=True)
class _Known:
    """What memory holds of a user: the index, and the latest texts as they are looked for, the last one last."""

    partition: Partition
    queries: dict[bytes, Query]

    @property
    def size(self) -> int:
        """What it counts for in memory, in vectors."""
        return 1 + len(self.partition) + len(self.queries)


class Recall:
    """Recalls over rows through per-owner indexes; safe to share between requests of one event loop."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        limits: RecallLimits,
        capacity: int = 100_000,
        on_recall: OnRecall | None = None,
    ) -> None:
        """``capacity`` is in vectors of all users in memory, of situations (0.4 kB with the bundled embedder) and of
        remembered requests (1.5 kB); with all that belongs to them some 1.2 kB each.

        ``on_recall`` is told of each recall: how many contexts were searched, how many preferences found.
        """
        self._database = database
        self._embedder = embedder
        self.limits = limits
        self._capacity = capacity
        self._on_recall = on_recall
        self._size = 0
        self._known: OrderedDict[str, _Known] = OrderedDict()  # by opaque id: tombstones name no more

    async def recall(self, user: User, context: str, *, k: int, since: float = 0.0) -> list[Recalled]:
        """The preferences that apply to ``context``, best first, by the vote of the ``k`` nearest alike contexts.

        ``since`` leaves out learned ones not changed after that time (an adapter knows those), unless they are locked.
        A user without preferences costs no embedding.
        """
        context = context[:CONTEXT_CHARACTERS]
        known = await self._known_of(user)
        partition = known.partition
        if not partition.preferences:
            return []
        if len(partition) and context.strip():
            scores = partition.elect(await self._query(user.opaque_id, known, context), k, self.limits)
        else:
            scores = dict.fromkeys(partition.everywhere, 1.0)
        kept = partition.chosen(scores, self.limits.budget, since)
        if self._on_recall is not None:
            self._on_recall(len(partition), len(kept))
        return kept

    def forget(self, opaque_id: str) -> None:
        """Drop a user's index and vectors from memory."""
        known = self._known.pop(opaque_id, None)
        self._size -= 0 if known is None else known.size

    async def _known_of(self, user: User) -> "_Known":
        known = self._known.get(user.opaque_id)
        if known is None or known.partition.revision != user.revision:
            partition = await self._database.read(self._load, user)
            remembered = known.queries.items() if known else ()
            queries = {digest: partition.query(query.vector) for digest, query in remembered}
            self.forget(user.opaque_id)
            known = self._known[user.opaque_id] = _Known(partition, queries)
            self._size += known.size
        self._known.move_to_end(user.opaque_id)
        while self._size > self._capacity and len(self._known) > 1:
            self.forget(next(iter(self._known)))
        return known

    async def _query(self, opaque_id: str, known: "_Known", text: str) -> Query:
        """Remembered for its user alone: nobody can tell from the time it takes what others asked."""
        digest = hashlib.sha256(text.encode()).digest()
        if query := known.queries.pop(digest, None):
            known.queries[digest] = query
            return query
        vector = (await asyncio.to_thread(self._embedder.embed, [text]))[0]
        before = known.size
        query = known.queries[digest] = known.partition.query(vector)
        if len(known.queries) > _REMEMBERED_TEXTS:
            del known.queries[next(iter(known.queries))]
        if self._known.get(opaque_id) is known:  # else it was forgotten meanwhile
            self._size += known.size - before
        return query

    def _load(self, connection: Connection, user: User) -> Partition:
        active = preferences.active(connection, user.owner)
        held = preferences.contexts(connection, user.owner, self._embedder.name)
        return Partition(user.revision, active, held, self._embedder.dimension)


def _step(vectors: Vectors) -> float:
    """What one is in whole numbers of a signed byte that hold all of ``vectors``."""
    return float(np.abs(vectors).max(initial=0)) / 127 or 1.0


def _one_thread() -> None:
    """Have FAISS search in the thread that asks, and set it for that one: others wake up later than it is done."""
    faiss.omp_set_num_threads(1)
