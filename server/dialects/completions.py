"""OpenAI's legacy completions: the allow-list of their fields, and how their answers are read.

A completion goes on where its prompt ends, so values and preferences stand before the prompt, not after it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from preference.prompt import preferences_block, values_block
from server.dialects.chat import Choices
from server.dialects.generation import Composed, Few, check_logprobs
from server.settings import Settings
from store.message import Message
from store.values import Value


class CompletionRequest(Choices):
    """OpenAI's completion request for one prompt."""

    path: ClassVar[str] = "/v1/completions"
    prompt_fields: ClassVar[frozenset[str]] = frozenset({"prompt"})

    prompt: str = Field(description="One text.")
    logprobs: Few | None = None
    echo: bool | None = Field(default=None, description="Only false: the prompt that is sent holds more than yours.")

    @field_validator("prompt", mode="before")
    @classmethod
    def _one_text(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            return prompt[0]
        if not isinstance(prompt, str):
            raise ValueError("must be one text; send one request a prompt, and no token ids")
        return prompt

    @field_validator("echo")
    @classmethod
    def _no_echo(cls, echo: bool | None) -> bool | None:
        if echo:
            raise ValueError("is not served: the prompt that is sent holds more than yours")
        return echo

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        check_logprobs(self.logprobs, settings, "logprobs")

    def conversation(self) -> list[Message]:
        """The prompt as a user's message."""
        return [{"role": "user", "content": self.prompt}]

    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """The blocks, then the prompt."""
        blocks = (values_block(values), preferences_block(preferences), self.prompt)
        text = "\n\n".join(block for block in blocks if block)
        return Composed({"prompt": text}, [{"role": "user", "content": text}])

    @staticmethod
    def text_of(choice: dict[str, Any]) -> str | None:
        """The text."""
        return choice.get("text")
