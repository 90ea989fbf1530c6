"""Continual learning without contexts: one preference, learned anew from the last edits after each of them."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.ports import Draft

WINDOW = 5


class Continual(Baseline):
    """What the last ``WINDOW`` edits teach, merged; each is inferred from once, since the model would repeat itself."""

    name = "continual"

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._inferred: deque[list[str]] = deque(maxlen=WINDOW)
        self._learned: list[str] = []

    async def complete(self, request: str) -> Draft:
        """The model's answer by the latest preferences."""
        return await self._answer(request, self._learned)

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
