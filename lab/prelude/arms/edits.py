"""What the arms share that show or study earlier edits themselves, rather than preferences kept from them."""

from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.memory import Memory, Pair, Vectors
from lab.prelude.ports import Draft


class RemembersEdits(Baseline):
    """Keeps each edited draft beside its edit; ``k`` is how many of the nearest are used."""

    def __init__(self, client: Client, vectors: Vectors, k: int) -> None:
        super().__init__(client)
        self._edits: Memory[Pair] = Memory(vectors)
        self._k = k

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Remember an edit."""
        if draft.text == edited:
            return {}
        pair = Pair(request, draft.text, edited)
        await self._edits.add(request, pair)
        return {"pair": vars(pair)}

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:
        """All edits."""
        for lesson in lessons:
            if lesson:
                pair = Pair(**lesson["pair"])
                await self._edits.add(pair.request, pair)
