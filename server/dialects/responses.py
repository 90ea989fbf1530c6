"""OpenAI's responses: the allow-list of their fields, and how their answers are read.

Nothing of a response is kept for later calls: the engine would hold it for whoever knows its id. So a conversation
is sent whole, in ``input``, as OpenAI's clients do with ``store=False``.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from preference import prompt
from server.dialects.events import Events, NamedEvents, Rewrite, Transcript
from server.dialects.generation import (
    TEXT,
    Composed,
    Count,
    Effort,
    Few,
    GenerationRequest,
    Id,
    Penalty,
    Strict,
    Temperature,
    check_count,
    check_logprobs,
    check_parts,
    name_or_object,
    text_of,
    text_or_parts,
)
from server.dialects.schema import check_format, check_tool_choice, check_tool_name, check_tools
from server.http.body import Items
from server.settings import Settings
from store.errors import Invalid
from store.message import Message
from store.values import Value

_TEXT = TEXT | {"input_text", "output_text", "reasoning_text", "summary_text"}


class InputItem(Strict):
    """A message, a call of a function, what the function gave, or reasoning; the fields of each as OpenAI has them."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    id: Id | None = None
    status: Id | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Any = Field(default=None, description="A string, or a list of text parts.")
    phase: Id | None = None
    call_id: Id | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    output: Any = None
    summary: Any = None

    @field_validator("content", "output", "summary")
    @classmethod
    def _texts(cls, content: Any, info: ValidationInfo) -> Any:
        """The engine fails on a refusal: what was said is text to it."""
        parts = text_or_parts(content, info)
        if not isinstance(parts, list):
            return parts
        text = {"type": "output_text", "annotations": list[Any]()}
        return [{**text, "text": part["refusal"]} if part["type"] == "refusal" else part for part in parts]


class Reasoning(Strict):
    """How much to think aloud."""

    effort: Effort | None = None
    summary: str | None = None


class TextFormat(Strict):
    """The form of the answer."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesRequest(GenerationRequest):
    """OpenAI's request for a response, less what must not reach the engine, plus ``attune``."""

    path: ClassVar[str] = "/v1/responses"
    prompt_fields: ClassVar[frozenset[str]] = frozenset({"input", "instructions"})
    not_forwarded: ClassVar[frozenset[str]] = GenerationRequest.not_forwarded | {"stream_options"}

    input: str | Items[InputItem] = Field(description="A text, or the whole conversation.")
    instructions: str | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Count | None = None
    temperature: Temperature | None = None
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_logprobs: Few | None = None
    include: Items[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    text: TextFormat | None = None
    reasoning: Reasoning | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    stream_options: dict[str, Any] | None = Field(default=None, description="Accepted and without effect.")

    _tool_choice = field_validator("tool_choice", mode="before")(name_or_object)

    @field_validator("input", mode="before")
    @classmethod
    def _text_or_items(cls, given: Any) -> Any:
        if isinstance(given, list) and not given:
            raise ValueError("must not be empty")
        if not isinstance(given, str | list):
            raise ValueError("must be a text or a list of items")
        return given

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        super().check(settings, base_model)
        check_logprobs(self.top_logprobs, settings)
        for number, tool in enumerate(self.tools or ()):
            if tool.get("type") != "function":
                raise Invalid("Only tools of type function are served.", param=f"tools.{number}.type")
        check_tools(self.tools)
        check_tool_choice(self.tool_choice)
        check_format(self.text.format if self.text else None, "text.format")
        if isinstance(self.input, str):
            return
        check_count(self.input, settings, "input")
        if not any(item.type != "message" or item.content for item in self.input):
            raise Invalid("The input says nothing.", param="input")
        for place, item in enumerate(self.input):
            empty = item.content in (None, []) and not item.is_ours
            if item.type == "message" and (item.role is None or empty):
                raise Invalid("A message needs a role and a content.", param=f"input.{place}")
            for name in (item.name, item.namespace):
                if name is not None or (item.type == "function_call" and item.name is None):
                    check_tool_name(name, f"input.{place}")
            for field in ("content", "output", "summary"):
                check_parts(getattr(item, field), settings, f"input.{place}.{field}", _TEXT)

    def conversation(self) -> list[Message]:
        """Instructions and input as chat messages."""
        return _as_chat(self._items())

    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """Values go to the instructions, or to the input's own system message; preferences beside the last message."""
        items = self._items()
        composed = prompt.compose(items, values, preferences, system_role=system_role, part="input_text")
        chat, fields = _as_chat(composed), dict[str, Any]()
        if self.instructions or len(composed) > len(items):
            fields["instructions"] = composed.pop(0)["content"]
        fields["input"] = composed[0]["content"] if isinstance(self.input, str) else composed
        return Composed(fields, chat)

    def rewrites(self, composed: Composed) -> list[Rewrite]:
        """A response repeats its instructions and metadata: the caller gets back the caller's own."""
        said, told = composed.fields.get("instructions"), self.instructions
        again = [Rewrite("instructions", said, told)] if said != told else []
        return [*again, Rewrite("metadata", None, self.metadata)] if self.metadata else again

    def payload(self, composed: Composed, *, model: str, cache_salt: str) -> dict[str, Any]:
        """The engine's request; it keeps nothing of it."""
        return {**super().payload(composed, model=model, cache_salt=cache_salt), "store": False}

    def events(self) -> Events:
        """Events with names; the last one repeats the whole response."""
        return ResponseEvents()

    @classmethod
    def transcript(cls, answer: dict[str, Any]) -> Transcript:
        """What a response said."""
        texts = [
            part.get("text") or "" for item in answer["output"] if item["type"] == "message" for part in item["content"]
        ]
        usage = answer.get("usage") or {}
        tokens = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
        return Transcript(str(answer["id"]), ["".join(texts)], *tokens, answer.get("status") == "incomplete")

    def _items(self) -> list[Message]:
        head = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            return [*head, {"role": "user", "content": self.input}]
        # Of an answer that was cut before its first word nothing is left to be sent.
        said = (item for item in self.input if item.type != "message" or item.content)
        return [*head, *(item.model_dump(exclude_unset=True, exclude_none=True) for item in said)]


class ResponseEvents(NamedEvents):
    """A response's events: the last one tells all; of a stream cut short, as far as it came."""

    closing = frozenset({"response.completed", "response.incomplete", "response.failed"})

    def __init__(self) -> None:
        super().__init__()
        self._response: dict[str, Any] = {}
        self._deltas: list[str] = []

    def add(self, data: dict[str, Any]) -> None:
        """See ``NamedEvents``."""
        if "response" in data:
            self._response = data["response"]
            self.completion_id = self.completion_id or str(self._response["id"])
        elif data.get("type") == "response.output_text.delta":
            self._deltas.append(data["delta"])

    def transcript(self) -> Transcript:
        """See ``Events``."""
        if self._response.get("output"):
            return ResponsesRequest.transcript(self._response)
        if not self._response:
            return Transcript()
        return Transcript(self.completion_id, ["".join(self._deltas)], 0, len(self._deltas))


def _as_chat(items: Sequence[Message]) -> list[Message]:
    messages: list[Message] = []
    for item in items:
        match item.get("type", "message"):
            case "message":
                messages.append({"role": item["role"], "content": text_of(item["content"])})
            case "function_call":
                function = {"name": item.get("name"), "arguments": item.get("arguments")}
                call = {"id": item.get("call_id"), "type": "function", "function": function}
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case "function_call_output":
                output = text_of(item.get("output"))
                messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
    return messages
