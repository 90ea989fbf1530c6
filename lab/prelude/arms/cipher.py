"""CIPHER (arXiv 2404.15269): preferences are kept by the request they were learned at, and found by similarity."""

from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.memory import Memory, Vectors
from lab.prelude.ports import Draft


class Cipher(Baseline):
    """``k`` is how many of the nearest requests are asked for their preferences; several lists are merged into one.

    A request whose edit taught nothing is not remembered.
    """

    def __init__(self, client: Client, vectors: Vectors, k: int) -> None:
        super().__init__(client)
        self._k = k
        self._preferences: Memory[list[str]] = Memory(vectors)

    async def complete(self, request: str) -> Draft:
        """The model's answer by the preferences of the nearest requests."""
        nearest = sorted(await self._preferences.nearest(request, self._k), key=lambda found: found[0])
        return await self._answer(request, await self._merge([held for _, held in nearest]))

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Keep what an edit shows; what was used is kept again when it was right."""
        accepted = draft.text == edited
        held = list(draft.preferences) if accepted else await self._infer(draft.text, edited, request)
        if not held and not accepted:
            return {}
        await self._preferences.add(request, held)
        return {"request": request, "preferences": held}

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:
        """All requests with their preferences."""
        for lesson in lessons:
            if lesson:
                await self._preferences.add(lesson["request"], lesson["preferences"])
