"""The arms that remember edits, rather than preferences kept from them: to show them (ICL) or to study them (CoT)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from openai import BadRequestError

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.memory import Memory, Pair, Vectors
from lab.prelude.ports import Draft
from store.message import Message


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


class InContext(RemembersEdits):
    """ICL-edit: the nearest pairs of draft and edit are shown to the model as an exchange before the request."""

    async def complete(self, request: str) -> Draft:
        """The model's answer after as many of the nearest edits as its context holds."""
        pairs = [pair for _, pair in await self._edits.nearest(request, self._k)]
        while True:
            try:
                return await self._answer(request, earlier=_exchange(pairs))
            except BadRequestError:  # longer than the model's context
                if not pairs:
                    raise
                pairs.pop()


class ChainOfThought(RemembersEdits):
    """CoT-edit: at each request preferences are inferred anew from the nearest edits and merged, oldest edit first."""

    async def complete(self, request: str) -> Draft:
        """The model's answer by what it has just inferred."""
        nearest = sorted(await self._edits.nearest(request, self._k), key=lambda found: found[0])
        inferred = await asyncio.gather(*(self._infer(pair.draft, pair.edited) for _, pair in nearest))
        return await self._answer(request, await self._merge(inferred))


def _exchange(pairs: Sequence[Pair]) -> list[Message]:
    """Each request, its draft, what the user made of that, and the model's consent; the nearest one comes last."""
    return [
        {"role": role, "content": content}
        for pair in reversed(pairs)
        for role, content in (
            ("user", pair.request),
            ("assistant", pair.draft),
            ("user", f"This is what I made of it. Write like this from now on.\n\n{pair.edited}"),
            ("assistant", "I will."),
        )
    ]
