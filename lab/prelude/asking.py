"""How the arms ask a model: what suits the bundled one, or models that follow instructions."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.inferring import PROMPTS
from preference.learning.difference import hunks, is_code
from preference.learning.prompt_file import PromptFile
from store.message import Message


@dataclass(frozen=True)
class Asking:
    """Tokens that an answer may have, the layout in which an edit is studied, and how long learning may take.

    Without a ``system_role`` nothing is said there.
    """

    answer_tokens: int = 500
    prompts: PromptFile = PROMPTS
    system_role: bool = True
    learn_seconds: float = 600.0

    def study(self, request: str, draft: str, edited: str) -> Sequence[Message]:
        """The prompt that asks which preferences turn ``draft`` into ``edited``."""
        differing = hunks(draft, edited, code=is_code(edited)) if self.prompts.counted else ()
        return self.prompts.messages(request, draft, edited, differing, system_role=self.system_role)


def general(system_role: bool) -> Asking:
    """For models that follow instructions: everyday answers are short, and a CPU is slow."""
    return Asking(answer_tokens=220, prompts=PromptFile.load(), system_role=system_role, learn_seconds=7200.0)
