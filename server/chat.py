"""OpenAI's chat completions: the allow-list of their fields, and how their answers are read."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from preference import prompt
from preference.errors import Invalid
from preference.prompt import Message
from preference.values import Value
from server.events import ChoicesEvents, Events, Transcript
from server.generation import (
    Composed,
    Count,
    Effort,
    GenerationRequest,
    Penalty,
    Probability,
    Seed,
    StreamOptions,
    Strict,
    Temperature,
    TopK,
    check_count,
    check_logprobs,
    check_text_only,
    name_or_object,
    one_or_more_strings,
    text_or_parts,
)
from server.schema import check_format, check_tool_choice, check_tool_names, check_tools
from server.settings import Settings

TokenId = Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class ChatMessage(Strict):
    """One message as OpenAI has it; what is inside tool calls passes through."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = Field(default=None, description="A string, or a list of text parts.")
    name: str | None = Field(default=None, max_length=256, pattern=r"^[^\s<>|\[\]{}\\]+$")
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None

    _content = field_validator("content")(text_or_parts)


class Choices(GenerationRequest):
    """What OpenAI's two routes that answer in choices share."""

    n: int | None = Field(default=None, ge=1)
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: TopK | None = None
    min_p: Probability | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    seed: Seed | None = None
    max_tokens: Count | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[TokenId, Bias] | None = Field(default=None, max_length=1024)
    response_format: dict[str, Any] | None = None

    _stop = field_validator("stop", mode="before")(one_or_more_strings)

    @property
    def choices(self) -> int:
        """``n``."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """``stream_options.include_usage``."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def events(self) -> Events:
        """Chunks with choices, then ``[DONE]``."""
        return ChoicesEvents(self.choices)

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        if self.stream_options is not None and not self.stream:
            raise Invalid("stream_options needs stream: true.", param="stream_options")
        check_format(self.response_format)

    def payload(self, composed: Composed, *, model: str, cache_salt: str) -> dict[str, Any]:
        """The engine's request. A stream always asks for usage: the turn keeps it, and the client may not want it."""
        sent = super().payload(composed, model=model, cache_salt=cache_salt)
        if self.stream:
            options = sent.get("stream_options") or {} if self.wants_usage else {}
            sent["stream_options"] = {**options, "include_usage": True}
        return sent


class ChatRequest(Choices):
    """OpenAI's chat completion request, less what must not reach the engine, plus ``attune``."""

    path: ClassVar[str] = "/v1/chat/completions"
    prompt_fields: ClassVar[frozenset[str]] = frozenset({"messages"})

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None

    _tool_choice = field_validator("tool_choice", mode="before")(name_or_object)

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        check_count(self.messages, settings, "messages")
        check_logprobs(self.top_logprobs, settings)
        check_tools(self.tools)
        check_tool_choice(self.tool_choice)
        for place, message in enumerate(self.messages):
            for number, call in enumerate(message.tool_calls or ()):
                check_tool_names(call, f"messages.{place}.tool_calls.{number}")
        if not settings.allow_media:
            for place, message in enumerate(self.messages):
                check_text_only(message.content, f"messages.{place}.content")

    def conversation(self) -> list[Message]:
        """The messages as the caller sent them."""
        return [message.model_dump(exclude_unset=True) for message in self.messages]

    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """The messages, personalised."""
        messages = prompt.compose(self.conversation(), values, preferences, system_role=system_role)
        return Composed({"messages": messages}, messages)

    @staticmethod
    def transcript(answer: dict[str, Any]) -> Transcript:
        """What a chat completion said."""
        return Transcript.of_choices([answer], lambda choice: (choice.get("message") or {}).get("content"))

    @staticmethod
    def transcript_of(events: Sequence[dict[str, Any]]) -> Transcript:
        """What the chunks said."""
        return Transcript.of_choices(events, lambda choice: (choice.get("delta") or {}).get("content"))
