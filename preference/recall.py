"""Which preferences apply to a request: those that held in the most similar contexts of the same user.

One FAISS `IndexFlatIP` per owner, derived from rows and rebuilt when the user's revision moves, so a deleted preference
cannot come back; a bounded LRU of them. CIPHER's k nearest contexts (arXiv 2404.15269), cut where likeness ends.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

import faiss
import numpy as np
from sqlalchemy import Connection

from preference import preferences
from preference.database import Database
from preference.owner import Owner
from preference.ports import Embedder, Vectors
from preference.preferences import Context, Preference
from preference.users import User


@dataclass(frozen=True)
class Recalled:
    """A preference that applies, with the cosine of its most similar context (1.0 when it applies everywhere)."""

    id: str
    text: str
    score: float


@dataclass(frozen=True)
class RecallLimits:
    """What counts as alike and how much of it is used.

    ``alike`` is the least cosine at which two contexts count as alike; ``margin`` how far below the best one a
    further context may lie; ``budget`` the prompt tokens for preferences, taken as one token per three bytes,
    which overestimates English.
    """

    alike: float = 0.4
    margin: float = 0.1
    budget: int = 600


class Partition:
    """One owner's preferences and their index at one revision."""

    def __init__(self, revision: int, active: list[Preference], contexts: list[Context], dimension: int) -> None:
        self.revision = revision
        self.preferences = {p.id: p for p in active}
        self._holds: dict[str, list[str]] = {}
        vectors: dict[str, Vectors] = {}
        for context in contexts:
            situation = context.feedback_id or context.id  # preferences of one edit share its context
            self._holds.setdefault(situation, []).append(context.preference_id)
            vectors[situation] = context.vector
        keyed = {context.preference_id for context in contexts}
        self.everywhere = [p.id for p in active if p.source == "stated" and p.id not in keyed]
        self.context_ids = list(vectors)
        self.index = faiss.IndexFlatIP(dimension)
        if vectors:
            self.index.add(np.stack(list(vectors.values())))

    def search(self, vector: Vectors, k: int, limits: RecallLimits) -> dict[str, float]:
        """Preference id to score for the ``k`` nearest alike contexts; ``vector`` is [dimension]."""
        scores = dict.fromkeys(self.everywhere, 1.0)
        if self.context_ids:
            cosines, rows = self.index.search(vector[None], min(k, len(self.context_ids)))
            floor = max(limits.alike, float(cosines[0][0]) - limits.margin)
            for cosine, row in zip(cosines[0], rows[0], strict=True):
                if cosine >= floor:
                    for preference_id in self._holds[self.context_ids[row]]:
                        scores.setdefault(preference_id, round(float(cosine), 4))
        return scores


class Recall:
    """Recalls over rows through per-owner indexes; safe to share between requests of one event loop."""

    def __init__(self, database: Database, embedder: Embedder, limits: RecallLimits, capacity: int = 4096) -> None:
        self._database = database
        self._embedder = embedder
        self.limits = limits
        self._capacity = capacity
        self._partitions: OrderedDict[Owner, Partition] = OrderedDict()

    async def recall(self, user: User, context: str, *, k: int, since: float = 0.0) -> list[Recalled]:
        """The preferences that apply to ``context``, best first, from the ``k`` nearest alike contexts.

        ``since`` leaves out preferences not changed after that time (an adapter has learned those).
        A user without preferences costs no embedding.
        """
        partition = await self._partition(user)
        if not partition.preferences:
            return []
        if partition.context_ids and context.strip():
            vector = (await asyncio.to_thread(self._embedder.embed, [context]))[0]
            scores = partition.search(vector, k, self.limits)
        else:
            scores = dict.fromkeys(partition.everywhere, 1.0)
        found = [
            Recalled(id, partition.preferences[id].text, score)
            for id, score in scores.items()
            if partition.preferences[id].updated_at > since
        ]
        found.sort(key=lambda r: (-r.score, partition.preferences[r.id].created_at, r.id))
        return _within_budget(found, self.limits.budget)

    def forget(self, owner: Owner) -> None:
        """Drop an owner's index from memory."""
        self._partitions.pop(owner, None)

    async def _partition(self, user: User) -> Partition:
        cached = self._partitions.get(user.owner)
        if cached is None or cached.revision != user.revision:
            cached = await self._database.read(self._load, user)
            self._partitions[user.owner] = cached
        self._partitions.move_to_end(user.owner)
        while len(self._partitions) > self._capacity:
            self._partitions.popitem(last=False)
        return cached

    def _load(self, connection: Connection, user: User) -> Partition:
        active = preferences.active(connection, user.owner)
        held = preferences.contexts(connection, user.owner, self._embedder.name)
        return Partition(user.revision, active, held, self._embedder.dimension)


def _within_budget(found: list[Recalled], budget: int) -> list[Recalled]:
    kept: list[Recalled] = []
    seen: set[str] = set()
    spent = 0
    for recalled in found:
        cost = len(recalled.text.encode()) // 3 + 2
        if recalled.text in seen:
            continue
        if spent + cost > budget:
            break
        kept.append(recalled)
        seen.add(recalled.text)
        spent += cost
    return kept
