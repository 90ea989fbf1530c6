"""Which preferences apply to a request: those that the user's contexts of the same kind vote for.

One FAISS index per owner over all contexts, in a byte a dimension, derived from rows and rebuilt when the user's
revision moves, so a deleted preference cannot come back; a bounded LRU of them. CIPHER merges the preferences of the
k nearest contexts (arXiv 2404.15269); here each of those contexts votes for the preferences that held in it, the
nearer and the newer with more weight. Where what the user stated for everywhere does not fit, the similarity of its
text to the request decides.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import Connection

from preference import context_rows, preferences
from preference.ports import Kinds, Vectors
from preference.recall.cache import Cache, Known
from preference.recall.index import Partition, Query, Recalled, RecallLimits
from preference.recall.kind import asked
from preference.recall.similarity import units
from store.database import Database
from store.message import Message
from store.owner import Owner
from store.users import User

OnRecall = Callable[[int, int], None]
_REMEMBERED_TEXTS = 32  # of a user: an app that retries, or asks for another answer, repeats the last one


class Recall:
    """Recalls over rows through per-owner indexes; safe to share between requests of one event loop."""

    def __init__(
        self,
        database: Database,
        embedder: Kinds,
        limits: RecallLimits,
        capacity: int = 100_000,
        on_recall: OnRecall | None = None,
    ) -> None:
        """``capacity`` is in vectors of all users in memory, of contexts (0.4 kB with the bundled embedder) and of
        remembered requests (1.5 kB); with all that belongs to them some 1.2 kB each.

        ``on_recall`` is told of each recall: how many contexts were searched, how many preferences found.
        """
        self._database = database
        self._embedder = embedder
        self.limits = limits
        self._on_recall = on_recall
        self._cache = Cache(capacity)
        self._telling: set[asyncio.Task[None]] = set()

    async def recall(
        self, user: User, context: str | Sequence[Message], *, k: int, since: float = 0.0
    ) -> list[Recalled]:
        """The preferences that apply to ``context``, best first, by the vote of the ``k`` nearest alike contexts.

        ``context`` is a conversation, of which the last message counts that does not only go on with another, or a
        text. ``since`` leaves out learned ones not changed after that time (an adapter knows those), unless they are
        locked. A user without preferences costs no embedding.
        """
        known = await self._known_of(user)
        partition = known.partition
        if not partition.preferences:
            return []
        texts = asked([{"role": "user", "content": context}] if isinstance(context, str) else context)
        query: Query | None = None
        if texts and (len(partition) or partition.crowded(self.limits.budget)):
            query = await self._query(user.opaque_id, known, texts)
            scores = partition.elect(query, k, self.limits)
        else:
            scores = dict.fromkeys(partition.everywhere, 1.0)
        kept = partition.chosen(scores, self.limits.budget, since, query)
        if self._on_recall is not None:
            self._on_recall(len(partition), len(kept))
        return kept

    async def unknown(self, user: User, request: Sequence[Message]) -> Vectors | None:
        """The kind of a request, [kinds], of unit length, where the user has no context of it; else None."""
        texts = asked(request)
        if not texts:
            return None
        known = await self._known_of(user)
        query = await self._query(user.opaque_id, known, texts)
        if known.partition.knows(query, self.limits):
            return None
        return units(query.vector[: self._embedder.kinds])

    def forget(self, opaque_id: str) -> None:
        """Drop a user's index and vectors from memory."""
        self._cache.forget(opaque_id)

    async def settled(self) -> None:
        """Wait until all that users stated, and that was looked at, is embedded."""
        await asyncio.gather(*self._telling)

    async def _known_of(self, user: User) -> Known:
        known = self._cache.get(user.opaque_id)
        if known is None or known.partition.revision != user.revision:
            partition = await self._database.read(self._load, user)
            queries = {} if known is None else {d: _anew(partition, q) for d, q in known.queries.items()}
            told = {} if known is None else known.told
            stated = {partition.preferences[n].text for n in partition.everywhere}
            told = {text: vector for text, vector in told.items() if text in stated}
            known = Known(partition, queries, told)
            self._cache.put(user.opaque_id, known)
            if partition.crowded(self.limits.budget):
                task = asyncio.create_task(self._tell(user.opaque_id, known))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
        self._cache.used(user.opaque_id)
        return known

    async def _tell(self, opaque_id: str, known: Known) -> None:
        """Embed what the user stated for everywhere. No request waits for it; until then the older ones come."""
        partition = known.partition
        texts = [partition.preferences[number].text for number in partition.everywhere]
        for text in texts:
            if text not in known.told:
                vector = (await asyncio.to_thread(self._embedder.embed, [text]))[0]
                with self._cache.growing(opaque_id, known):
                    known.told[text] = vector
        partition.told = np.stack([known.told[text] for text in texts])

    async def _query(self, opaque_id: str, known: Known, texts: Sequence[str]) -> Query:
        """The first of ``texts`` that does not only go on with the next one, or the last of them.

        Remembered for its user alone: nobody can tell from the time it takes what others asked.
        """
        for text in texts:
            query = await self._query_of(opaque_id, known, text)
            if not query.goes_on:
                break
        return query

    async def _query_of(self, opaque_id: str, known: Known, text: str) -> Query:
        digest = hashlib.sha256(text.encode()).digest()
        if (query := known.queries.pop(digest, None)) is not None:
            known.queries[digest] = query
            return query
        vector = (await asyncio.to_thread(self._embedder.embed, [text]))[0]
        query = known.partition.query(vector)._replace(goes_on=self._embedder.goes_on(vector))
        with self._cache.growing(opaque_id, known):
            known.queries[digest] = query
            if len(known.queries) > _REMEMBERED_TEXTS:
                del known.queries[next(iter(known.queries))]
        return query

    def _load(self, c: Connection, user: User) -> Partition:
        return load(c, user.owner, self._embedder, user.revision)


def load(c: Connection, owner: Owner, embedder: Kinds, revision: int = 0) -> Partition:
    """What is known of a user, at a revision, as recall goes through it."""
    held = context_rows.by_embedder(c, owner, embedder.name)
    return Partition(revision, preferences.active(c, owner), held, embedder.dimension, embedder.kinds)


def _anew(partition: Partition, query: Query) -> Query:
    return partition.query(query.vector)._replace(goes_on=query.goes_on)
