"""OpenAI's chat completions: the allow-list of their fields, and how their answers are read."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator

from preference import prompt
from server.dialects.events import ChoicesEvents, Events, Transcript
from server.dialects.generation import (
    Aside,
    Composed,
    Count,
    Effort,
    Few,
    GenerationRequest,
    Id,
    Penalty,
    Probability,
    Seed,
    StreamOptions,
    Strict,
    Temperature,
    TopK,
    check_count,
    check_logprobs,
    check_parts,
    name_or_object,
    one_or_more_strings,
    text_or_parts,
)
from server.dialects.schema import check_format, check_tool_choice, check_tool_names, check_tools
from server.http.body import Items, few
from server.settings import Settings
from store import bytes_held
from store.errors import Invalid
from store.message import Message
from store.values import Value

TokenId = Annotated[str, StringConstraints(pattern=r"^\d{1,9}$")]
MAX_ASIDE = 512 * 1024
"""Characters that a conversation may hold beside its texts: they may cost no token, and are kept with the turn."""
Bias = Annotated[float, Field(ge=-100, le=100)]


class ChatMessage(Strict):
    """One message as OpenAI has it; what is inside tool calls passes through."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = Field(default=None, description="A string, or a list of text parts.")
    name: str | None = Field(default=None, max_length=256, pattern=r"^[^\s<>|\[\]{}\\]+$")
    tool_calls: Items[dict[str, Any]] | None = None
    tool_call_id: Id | None = None
    refusal: Aside | None = None
    reasoning: Aside | None = None
    reasoning_content: Aside | None = Field(default=None, description="What other servers call `reasoning`.")

    _content = field_validator("content")(text_or_parts)

    def as_sent(self) -> Message:
        """The message as the engine takes it, without what is null or empty."""
        sent = self.model_dump(exclude_unset=True, exclude={"reasoning_content"})
        if self.reasoning_content and not self.reasoning:
            sent["reasoning"] = self.reasoning_content
        if self.is_ours and self.tool_calls:
            sent["tool_calls"] = list(map(_as_called, self.tool_calls))
        return {name: value for name, value in sent.items() if name == "content" or value not in (None, [])}


def _as_called(call: dict[str, Any]) -> dict[str, Any]:
    """A call of a tool without what is null, and without what OpenAI's helpers add to it."""
    held = {name: value for name, value in call.items() if value is not None and name != "index"}
    function = held.get("function")
    if isinstance(function, dict):
        kept = {name: value for name, value in function.items() if value is not None and name != "parsed_arguments"}
        held["function"] = kept
    return held


def _aside(message: ChatMessage) -> int:
    """Characters of what is neither a message's text or image, nor what a function was called with."""
    whole, said = message.as_sent(), list[Any]()
    content = whole.get("content")
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        said.append((part.get("text") if part["type"] == "text" else part) if part["type"] != "refusal" else None)
    functions = [call.get("function") for call in message.tool_calls or ()]
    said += [function.get("arguments") for function in functions if isinstance(function, dict)]
    return (
        bytes_held.size(whole)
        - sum(bytes_held.size(one) - bytes_held.ROW for one in said if one is not None)
        - bytes_held.ROW
    )


class Choices(GenerationRequest):
    """What OpenAI's two routes that answer in choices share."""

    n: Count | None = None
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
    stop: str | Items[str] | None = None
    logit_bias: Annotated[dict[TokenId, Bias], few(1024)] | None = None
    response_format: dict[str, Any] | None = None

    _stop = field_validator("stop", mode="before")(one_or_more_strings)

    @staticmethod
    @abstractmethod
    def text_of(choice: dict[str, Any]) -> str | None:
        """What a choice says, of a whole answer or of a chunk."""

    def events(self) -> Events:
        """Chunks with choices, then ``[DONE]``."""
        return ChoicesEvents(self.choices, self.text_of)

    @classmethod
    def transcript(cls, answer: dict[str, Any]) -> Transcript:
        """What a whole answer said."""
        events = ChoicesEvents(0, cls.text_of)
        events.add(answer)
        return events.transcript()

    @property
    def choices(self) -> int:
        """``n``."""
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """``stream_options.include_usage``."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        if self.stream_options is not None and not self.stream:
            raise Invalid("stream_options needs stream: true.", param="stream_options")
        check_format(self.response_format)

    def payload(self, composed: Composed, *, model: str, cache_salt: str) -> dict[str, Any]:
        """The engine's request. A stream always asks for usage: the turn keeps it, and the client may not want it."""
        sent = super().payload(composed, model=model, cache_salt=cache_salt)
        if not sent.get("tools"):  # vLLM refuses an empty list, and any choice without tools; agents send both
            sent = {name: value for name, value in sent.items() if name not in ("tools", "parallel_tool_calls")}
            if sent.get("tool_choice") in (None, "none", "auto"):
                sent.pop("tool_choice", None)
        if self.choices > 1 and self.temperature == 0:  # vLLM refuses several greedy answers; this is one as well
            sent |= {"temperature": 1.0, "top_k": 1}
        if self.stream:
            options = sent.get("stream_options") or {} if self.wants_usage else {}
            sent["stream_options"] = {**options, "include_usage": True}
        return sent


class ChatRequest(Choices):
    """OpenAI's chat completion request, less what must not reach the engine, plus ``attune``."""

    path: ClassVar[str] = "/v1/chat/completions"
    prompt_fields: ClassVar[frozenset[str]] = frozenset({"messages"})
    not_forwarded: ClassVar[frozenset[str]] = GenerationRequest.not_forwarded | {
        "verbosity",
        "prediction",
        "modalities",
        "functions",
    }

    messages: Items[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Few | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    verbosity: str | None = Field(default=None, description="Accepted and without effect.")
    prediction: dict[str, Any] | None = Field(default=None, description="Accepted and without effect.")
    modalities: list[Literal["text"]] | None = Field(default=None, max_length=1)
    functions: list[Any] | None = Field(default=None, max_length=0, description="Only empty: send `tools`.")

    _tool_choice = field_validator("tool_choice", mode="before")(name_or_object)

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        check_count(self.messages, settings, "messages")
        check_logprobs(self.top_logprobs, settings)
        check_tools(self.tools)
        check_tool_choice(self.tool_choice)
        if sum(map(_aside, self.messages)) > MAX_ASIDE:
            raise Invalid(
                f"The messages may hold {MAX_ASIDE:,} characters beside their texts: reasoning, refusals, annotations.",
                param="messages",
            )
        for place, message in enumerate(self.messages):
            for number, call in enumerate(message.tool_calls or ()):
                check_tool_names(call, f"messages.{place}.tool_calls.{number}")
            check_parts(message.content, settings, f"messages.{place}.content")

    def conversation(self) -> list[Message]:
        """The messages as the caller sent them."""
        return [message.as_sent() for message in self.messages]

    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """The messages, personalised."""
        messages = prompt.compose(self.conversation(), values, preferences, system_role=system_role)
        return Composed({"messages": messages}, messages)

    @staticmethod
    def text_of(choice: dict[str, Any]) -> str | None:
        """The content of a message, or of what is added to one."""
        said: dict[str, Any] = choice.get("message") or choice.get("delta") or {}
        return said.get("content")
