"""The oracle: told what the user truly wants of each request, so that only the model's own faults cost anything."""

from collections.abc import Callable, Sequence

from lab.client import Client
from lab.prelude.arms.baseline import Baseline
from lab.prelude.ports import Draft


class Oracle(Baseline):
    """``truth`` gives what is wanted of the request at hand."""

    name = "oracle"

    def __init__(self, client: Client, truth: Callable[[], Sequence[str]]) -> None:
        super().__init__(client)
        self._truth = truth

    async def complete(self, request: str) -> Draft:
        """The model's answer by the true preferences."""
        return await self._answer(request, tuple(self._truth()))
