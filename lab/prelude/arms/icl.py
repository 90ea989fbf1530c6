"""Learning in context: the nearest earlier edits are shown to the model as an exchange before the request."""

from collections.abc import Sequence

from openai import BadRequestError

from lab.client import Client
from lab.prelude.arms.edits import RemembersEdits
from lab.prelude.memory import Pair, Vectors
from lab.prelude.ports import Draft
from preference.prompt import Message


class InContext(RemembersEdits):
    """ICL-edit: ``k`` pairs of draft and edit."""

    def __init__(self, client: Client, vectors: Vectors, k: int) -> None:
        super().__init__(client, vectors, k)
        self.name = f"icl-edit-{k}"

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
