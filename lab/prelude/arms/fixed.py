"""The arms that learn nothing: the bare model, what could be said of any user, and what this user truly wants."""

from collections.abc import Callable, Sequence

from lab.client import Client
from lab.edits.score import CONSTANT_LIST
from lab.prelude.arms.baseline import Baseline
from lab.prelude.ports import Draft


class NoLearning(Baseline):
    """Answers every request as the first one: what everybody else should beat."""

    async def complete(self, request: str) -> Draft:
        """The bare model's answer."""
        return await self._answer(request)


class Constant(Baseline):
    """Answers by the same few preferences, whoever asks for whatever. They were written without a look at an edit."""

    async def complete(self, request: str) -> Draft:
        """The model's answer by the constant list."""
        return await self._answer(request, CONSTANT_LIST)


class Oracle(Baseline):
    """``truth`` gives what is wanted of the request at hand, so that only the model's own faults cost anything."""

    def __init__(self, client: Client, truth: Callable[[], Sequence[str]]) -> None:
        super().__init__(client)
        self._truth = truth

    async def complete(self, request: str) -> Draft:
        """The model's answer by the true preferences."""
        return await self._answer(request, tuple(self._truth()))
