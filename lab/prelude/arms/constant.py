"""The constant list: what somebody could say of any user without a look at an edit. It has to be beaten."""

from lab.edits.score import CONSTANT_LIST
from lab.prelude.arms.baseline import Baseline
from lab.prelude.ports import Draft


class Constant(Baseline):
    """Answers by the same few preferences, whoever asks for whatever."""

    name = "constant"

    async def complete(self, request: str) -> Draft:
        """The model's answer by the constant list."""
        return await self._answer(request, CONSTANT_LIST)
