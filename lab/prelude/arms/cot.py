"""Thinking first: at each request the model writes what the nearest earlier edits say of the user, then the answer."""

import asyncio

from lab.client import Client
from lab.prelude.arms.edits import RemembersEdits
from lab.prelude.memory import Vectors
from lab.prelude.ports import Draft

NEAREST = 5


class ChainOfThought(RemembersEdits):
    """CoT-edit: nothing but edits is remembered; preferences are inferred anew and merged, oldest edit first."""

    name = "cot-edit"

    def __init__(self, client: Client, vectors: Vectors) -> None:
        super().__init__(client, vectors, NEAREST)

    async def complete(self, request: str) -> Draft:
        """The model's answer by what it has just inferred."""
        nearest = sorted(await self._edits.nearest(request, self._k), key=lambda found: found[0])
        inferred = await asyncio.gather(*(self._infer(pair.draft, pair.edited) for _, pair in nearest))
        return await self._answer(request, await self._merge(inferred))
