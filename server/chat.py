"""The allow-list of chat request fields, and the ``attune`` extension object. What is not declared here is refused."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from preference.errors import Invalid
from preference.prompt import Message
from preference.values import Value
from server.errors import ModelNotFound
from server.settings import Settings

Personalize = Literal["auto", "off", "retrieval", "adapter", "retrieval+adapter"]

_OURS = {"attune"}


class Attune(BaseModel):
    """What to personalise in this request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    values: list[Value] = Field(default_factory=list, max_length=32, description="Values for this request alone.")
    personalize: Personalize = Field(default="auto", description="Which of the user's preferences and adapter to use.")
    k: int | None = Field(
        default=None,
        ge=0,
        le=50,
        description="How many of the nearest earlier contexts vote on the preferences; 0: no preferences.",
    )
    adapter_version: int | None = Field(default=None, ge=0, description="One of the user's ready versions; 0 is none.")
    store: bool = Field(default=True, description="False: nothing is written about this request.")


class StreamOptions(BaseModel):
    """OpenAI's options of a streamed answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class ChatMessage(BaseModel):
    """One message as OpenAI has it; what is inside tool calls passes through."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = Field(default=None, description="A string, or a list of text parts.")
    name: str | None = Field(default=None, max_length=256)
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None

    @field_validator("content")
    @classmethod
    def _text_or_parts(cls, content: Any) -> Any:
        if content is None or isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise ValueError("must be a string or a list of parts")
        for number, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise ValueError(f"part {number} must be an object with a type")
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                raise ValueError(f"part {number} must have a text")
        return content


class ChatRequest(BaseModel):
    """OpenAI's chat completion request, less what must not reach the engine, plus ``attune``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = None
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0)
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    attune: Attune = Field(default_factory=Attune)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_more_strings(cls, stop: Any) -> Any:
        if stop is None or isinstance(stop, str) or (isinstance(stop, list) and all(isinstance(s, str) for s in stop)):
            return stop
        raise ValueError("must be a string or a list of strings")

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _name_or_object(cls, choice: Any) -> Any:
        if choice is None or isinstance(choice, str | dict):
            return choice
        raise ValueError("must be a string or an object")

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        if self.model != base_model:
            raise ModelNotFound(self.model, base_model)
        if len(self.messages) > settings.messages_limit:
            raise Invalid(f"At most {settings.messages_limit} messages are accepted.", param="messages")
        if (self.n or 1) > settings.choices_limit:
            raise Invalid(f"n must be at most {settings.choices_limit}.", param="n")
        if (self.top_logprobs or 0) > settings.logprobs_limit:
            raise Invalid(f"top_logprobs must be at most {settings.logprobs_limit}.", param="top_logprobs")
        if self.stream_options is not None and not self.stream:
            raise Invalid("stream_options needs stream: true.", param="stream_options")
        if self.attune.adapter_version and self.attune.personalize in ("off", "retrieval"):
            raise Invalid(f"personalize={self.attune.personalize!r} uses no adapter.", param="attune.adapter_version")
        if not settings.allow_media:
            self._check_text_only()
        try:
            json.dumps(self.model_dump(), ensure_ascii=False, allow_nan=False).encode()
        except ValueError as error:
            raise Invalid(f"The request holds NaN, infinity or half a surrogate pair: {error}", param=None) from error

    def conversation(self) -> list[Message]:
        """The messages as the caller sent them."""
        return [message.model_dump(exclude_unset=True) for message in self.messages]

    def payload(self, messages: list[Message], *, model: str, cache_salt: str) -> dict[str, Any]:
        """The engine's request. A stream always asks for usage: the turn keeps it, and the client may not want it."""
        sent = self.model_dump(exclude_unset=True, exclude=_OURS)
        if self.stream:
            options = sent.get("stream_options") or {} if self.wants_usage else {}
            sent["stream_options"] = {**options, "include_usage": True}
        return {**sent, "model": model, "messages": messages, "cache_salt": cache_salt}

    @property
    def wants_usage(self) -> bool:
        """True when the client of a stream asked for the usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def _check_text_only(self) -> None:
        for place, message in enumerate(self.messages):
            if not isinstance(message.content, list):
                continue
            for number, part in enumerate(message.content):
                if part["type"] not in ("text", "refusal"):
                    raise Invalid(
                        f"Parts of type {part['type']!r} are not accepted here: only text.",
                        param=f"messages.{place}.content.{number}",
                    )
