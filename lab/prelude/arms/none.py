"""No learning: what everybody else should beat."""

from lab.prelude.arms.baseline import Baseline
from lab.prelude.ports import Draft


class NoLearning(Baseline):
    """Answers every request as the first one."""

    name = "none"

    async def complete(self, request: str) -> Draft:
        """The bare model's answer."""
        return await self._answer(request)
