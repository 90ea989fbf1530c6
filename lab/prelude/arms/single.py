"""The arms that keep one list of preferences for all requests, without contexts."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.memory import Pair
from lab.prelude.ports import Draft

EXPLORED = WINDOW = 5


class Single(Baseline):
    """Answers by what it has learned."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._learned: list[str] = []

    async def complete(self, request: str) -> Draft:
        """The model's answer by the list."""
        return await self._answer(request, self._learned)


class ExploreThenExploit(Single):
    """Answers without learning until ``EXPLORED`` edits came; infers from each, merges once, and never learns again."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._pairs: list[Pair] = []

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


class Continual(Single):
    """What the last ``WINDOW`` edits teach, merged; each is inferred from once, since the model would repeat itself."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._inferred: deque[list[str]] = deque(maxlen=WINDOW)

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Infer from an edit, and merge it with those before."""
        if draft.text == edited:
            return {}
        self._inferred.append(await self._infer(draft.text, edited))
        self._learned = await self._merge(self._inferred)
        return {"inferred": self._inferred[-1], "learned": self._learned}

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:
        """The last inferences, and their merge."""
        told = [lesson for lesson in lessons if lesson]
        self._inferred.extend(lesson["inferred"] for lesson in told)
        self._learned = list(told[-1]["learned"]) if told else []
