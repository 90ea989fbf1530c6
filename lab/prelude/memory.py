"""What baselines remember of earlier rounds, found again by the similarity of their requests."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from preference.ports import Embedder

T = TypeVar("T")
Vector = NDArray[np.float32]

MAX_VECTORS = 10_000
MAX_ROUNDS = 2_000


class Vectors:
    """Unit vectors of requests, shared by all arms: each text is embedded once, the latest ``MAX_VECTORS`` are kept."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: LRUCache[str, asyncio.Task[Vector]] = LRUCache(MAX_VECTORS)

    async def of(self, text: str) -> Vector:
        """The vector of ``text``, float32 [dimension]."""
        if text not in self._known:  # the task, not its result: others who ask meanwhile wait for the same
            self._known[text] = asyncio.create_task(asyncio.to_thread(self._embed, text))
        return await asyncio.shield(self._known[text])

    def _embed(self, text: str) -> Vector:
        vector: Vector = self._embedder.embed([text])[0]
        return vector


@dataclass(frozen=True)
class Pair:
    """One round that was edited: what was asked, the draft, and what the user made of it."""

    request: str
    draft: str
    edited: str


class Memory(Generic[T]):
    """Things by the request they belong to; the newest ``MAX_ROUNDS``."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._held: deque[tuple[Vector, int, T]] = deque(maxlen=MAX_ROUNDS)
        self._count = 0

    async def add(self, request: str, thing: T) -> None:
        """Remember ``thing``."""
        self._count += 1
        self._held.append((await self._vectors.of(request), self._count, thing))

    async def nearest(self, request: str, k: int) -> list[tuple[int, T]]:
        """Number and thing of the ``k`` whose requests are most like this one by cosine, nearest first.

        Numbers grow with time; of equally near things the newer comes first.
        """
        vector = await self._vectors.of(request)
        scored = [(float(held @ vector), number, thing) for held, number, thing in self._held]
        scored.sort(key=lambda entry: entry[:2], reverse=True)
        return [(number, thing) for _, number, thing in scored[:k]]
