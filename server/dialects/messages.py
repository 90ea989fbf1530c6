"""Anthropic's messages: the allow-list of their fields, and how their answers are read."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from preference import prompt
from preference.prompt import values_block
from server.dialects.events import Events, NamedEvents, Transcript
from server.dialects.generation import (
    Composed,
    Count,
    GenerationRequest,
    Id,
    Strict,
    Temperature,
    TopK,
    answered,
    check_count,
    check_parts,
    one_or_more_strings,
    text_of,
    text_or_parts,
)
from server.dialects.schema import check_format, check_tool_name, check_tools
from server.http.body import Items
from server.settings import Settings
from store.errors import Invalid
from store.message import Message
from store.values import Value

_CUT = ("max_tokens", "stop_sequence")
_TEXT = frozenset({"text", "tool_use", "tool_result", "thinking", "redacted_thinking"})


class Block(Strict):
    """One block of a message; ``cache_control`` is accepted and without effect."""

    type: str
    text: str | None = None
    id: Id | None = None
    tool_use_id: Id | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    content: Any = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    source: dict[str, Any] | None = None
    citations: Any = Field(default=None, exclude=True)
    cache_control: dict[str, Any] | None = Field(default=None, exclude=True)

    _content = field_validator("content")(text_or_parts)

    @model_validator(mode="after")
    def _says_something(self) -> "Block":
        if self.type == "text" and self.text is None:
            raise ValueError("must have a text")
        return self

    @model_validator(mode="after")
    def _declared(self) -> Self:
        return self  # whose block it is, its message knows


Blocks = TypeVar("Blocks", bound=str | list[Block] | None)


class AnthropicMessage(Strict):
    """One message."""

    role: Literal["user", "assistant"]
    content: str | Items[Block]

    @field_validator("content")
    @classmethod
    def _blocks(cls, content: Blocks, info: ValidationInfo) -> Blocks:
        return declared(content, all=answered(info.data))


def declared(blocks: Blocks, *, all: bool = False) -> Blocks:
    """``blocks`` without undeclared fields that are null, or without any. Raises ``ValidationError`` of others."""
    for block in blocks if isinstance(blocks, list) else ():
        block.drop_undeclared(all=all)
    return blocks


class Tool(Strict):
    """A function that the client runs."""

    name: str = Field(min_length=1, max_length=256)
    type: Literal["custom"] | None = Field(default=None, exclude=True)
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: dict[str, Any] | None = Field(default=None, exclude=True)
    defer_loading: bool | None = Field(default=None, exclude=True)
    eager_input_streaming: bool | None = Field(default=None, exclude=True)
    input_examples: Items[dict[str, Any]] | None = Field(default=None, exclude=True)
    allowed_callers: Items[str] | None = Field(default=None, exclude=True)


class ToolChoice(Strict):
    """Which tool to use."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Strict):
    """Whether to think aloud, and how long."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(default=None, ge=1024, le=2**31 - 1)
    display: str | None = None


class OutputConfig(Strict):
    """The form of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: dict[str, Any] | None = None


class MessagesRequest(GenerationRequest):
    """Anthropic's request for a message, less what must not reach the engine, plus ``attune``."""

    path: ClassVar[str] = "/v1/messages"
    prompt_fields: ClassVar[frozenset[str]] = frozenset({"messages", "system"})
    not_forwarded: ClassVar[frozenset[str]] = GenerationRequest.not_forwarded | {
        "cache_control",
        "context_management",
        "inference_geo",
        "speed",
    }

    messages: Items[AnthropicMessage] = Field(min_length=1)
    max_tokens: Count
    system: str | Items[Block] | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop_sequences: Items[str] | None = None
    tools: Items[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: dict[str, Any] | None = Field(default=None, description="Accepted and without effect.")
    context_management: dict[str, Any] | None = Field(default=None, description="Accepted and without effect.")
    inference_geo: str | None = Field(default=None, description="Accepted and without effect.")
    speed: str | None = Field(default=None, description="Accepted and without effect.")

    _system = field_validator("system")(declared)
    _stop = field_validator("stop_sequences", mode="before")(one_or_more_strings)

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        check_count(self.messages, settings, "messages")
        check_tools([tool.model_dump() for tool in self.tools or ()])
        if self.tool_choice and self.tool_choice.name is not None:
            check_tool_name(self.tool_choice.name, "tool_choice.name")
        check_format(self.output_config.format if self.output_config else None, "output_config.format")
        for block in self.system if isinstance(self.system, list) else ():
            if block.type != "text":
                raise Invalid("The system prompt may hold text blocks only.", param="system")
        for place, message in enumerate(self.messages):
            blocks = message.model_dump()["content"]
            check_parts(blocks, settings, f"messages.{place}.content", _TEXT)
            for number, block in enumerate(blocks if isinstance(blocks, list) else ()):
                if block["type"] == "tool_use" or block["name"] is not None:
                    check_tool_name(block["name"], f"messages.{place}.content.{number}.name")
                check_parts(block["content"], settings, f"messages.{place}.content.{number}.content")

    def conversation(self) -> list[Message]:
        """System prompt and messages as chat messages."""
        dumped = self.model_dump(include={"system", "messages"}, exclude_unset=True)
        return _as_chat(dumped.get("system"), dumped["messages"])

    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """Values go to the system prompt, preferences beside the last message."""
        dumped = self.model_dump(include={"system", "messages"}, exclude_unset=True)
        system, stated = dumped.get("system"), values_block(values) if system_role else ""
        if stated and isinstance(system, list):  # vLLM joins these blocks without anything in between
            system = [*system, {"type": "text", "text": f"\n\n{stated}"}]
        elif stated:
            system = f"{system}\n\n{stated}" if system else stated
        messages = prompt.compose(dumped["messages"], () if system_role else values, preferences, system_role=False)
        fields = {"messages": messages, **({"system": system} if system else {})}
        return Composed(fields, _as_chat(system, messages))

    def events(self) -> Events:
        """Events with names."""
        return MessageEvents()

    @classmethod
    def transcript(cls, answer: dict[str, Any]) -> Transcript:
        """What a message said."""
        text = "".join(block["text"] for block in answer["content"] if block["type"] == "text")
        usage = answer.get("usage") or {}
        tokens = int(usage.get("output_tokens") or 0)
        return Transcript(str(answer["id"]), [text], _prompt_tokens(usage), tokens, answer.get("stop_reason") in _CUT)


class CountTokensRequest(MessagesRequest):
    """Anthropic's request to count a message's tokens; nothing is generated or stored."""

    max_tokens: Count = 1

    @property
    def stores(self) -> bool:
        """Never."""
        return False

    def chat_tools(self) -> list[dict[str, Any]]:
        """The tools as a chat has them."""
        return [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema},
            }
            for tool in self.tools or ()
        ]


class MessageEvents(NamedEvents):
    """A message's events: it starts with its prompt's tokens, and its last but one has the answer's."""

    closing = frozenset({"message_stop"})

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, Any] = {}
        self._texts: list[str] = []
        self._cut = False

    def add(self, data: dict[str, Any]) -> None:
        """See ``NamedEvents``."""
        if data.get("type") == "message_start":
            self.completion_id, self._usage = str(data["message"]["id"]), data["message"]["usage"]
        elif data.get("type") == "message_delta":
            self._usage = {**self._usage, **(data.get("usage") or {})}
        delta = data.get("delta", {})
        if delta.get("type") == "text_delta":
            self._texts.append(delta["text"])
        self._cut |= delta.get("stop_reason") in _CUT

    def transcript(self) -> Transcript:
        """See ``Events``."""
        if not self.completion_id:
            return Transcript()
        tokens = int(self._usage.get("output_tokens") or 0) or len(self._texts)
        return Transcript(self.completion_id, ["".join(self._texts)], _prompt_tokens(self._usage), tokens, self._cut)


def _prompt_tokens(usage: dict[str, Any]) -> int:
    """Anthropic counts cached tokens apart."""
    return sum(int(usage.get(f"{kind}input_tokens") or 0) for kind in ("", "cache_read_", "cache_creation_"))


def _as_chat(system: Any, messages: Sequence[Message]) -> list[Message]:
    chat: list[Message] = []
    if system:
        text = system if isinstance(system, str) else "".join(block.get("text") or "" for block in system)
        chat.append({"role": "system", "content": text})
    for message in messages:
        if isinstance(message["content"], str):
            chat.append({"role": message["role"], "content": message["content"]})
            continue
        blocks = message["content"]
        for block in blocks:
            if block["type"] == "tool_result":
                output = text_of(block.get("content"))
                chat.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": output})
        calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
        text = text_of([block for block in blocks if block["type"] == "text"])
        if text or calls:
            chat.append({"role": message["role"], "content": text or None, **({"tool_calls": calls} if calls else {})})
    return chat


def _call(block: Message) -> Message:
    function = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
    return {"id": block.get("id"), "type": "function", "function": function}
