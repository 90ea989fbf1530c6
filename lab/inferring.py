"""The prompt in which the bundled model is taught, and asked, what an edit shows."""

from pathlib import Path

from preference.learning.prompt_file import NAME, PromptFile
from store.message import Message

PROMPTS = PromptFile.load(Path(__file__).resolve().parent / "model" / NAME)


def inference_messages(draft: str, edited: str) -> list[Message]:
    """The prompt that asks which preferences turn ``draft`` into ``edited``."""
    return PROMPTS.messages("", draft, edited, (), system_role=True)
