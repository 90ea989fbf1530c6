"""Explore, then exploit: one preference learned from the first edits, and kept for good."""

import asyncio
from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.memory import Pair
from lab.prelude.ports import Draft

EXPLORED = 5


class ExploreThenExploit(Baseline):
    """Answers without learning until ``EXPLORED`` edits came; infers from each, merges once, and never learns again."""

    name = "explore-then-exploit"

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._pairs: list[Pair] = []
        self._learned: list[str] = []

    async def complete(self, request: str) -> Draft:
        """The model's answer by what was explored."""
        return await self._answer(request, self._learned)

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Collect an edit; the last one to be collected is learned from with all others."""
        if draft.text == edited or len(self._pairs) == EXPLORED:
            return {}
        self._pairs.append(Pair(request, draft.text, edited))
        if len(self._pairs) == EXPLORED:
            inferred = await asyncio.gather(*(self._infer(p.draft, p.edited) for p in self._pairs))
            self._learned = await self._merge(inferred)
        return {"pair": vars(self._pairs[-1]), "learned": self._learned}

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:
        """The edits collected so far, and what was learned."""
        told = [lesson for lesson in lessons if lesson]
        self._pairs = [Pair(**lesson["pair"]) for lesson in told]
        self._learned = list(told[-1]["learned"]) if told else []
