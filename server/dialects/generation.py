"""What every request for a generation shares: who asks, the ``attune`` object, sampling, and the server's limits.

Each of the engine's routes that we serve has a file of its own with the allow-list of its fields: ``chat.py``,
``completions.py``, ``responses.py``, ``messages.py``. What is not declared there is refused.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails

from server.dialects.events import Events, Rewrite, Transcript
from server.dialects.schema import MAX_DEPTH, check_depth, check_schemas
from server.errors import ModelNotFound
from server.http.body import few
from server.media import check_media
from server.settings import Settings
from store.errors import Invalid
from store.message import Message
from store.values import Value, check_values

Personalize = Literal["auto", "off", "retrieval", "adapter", "retrieval+adapter"]

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Few = Annotated[int, Field(ge=0, le=2**31 - 1)]
TopK = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Id = Annotated[str, Field(max_length=256)]
"""Of something in the conversation, as its maker named it."""
Aside = Annotated[str, Field(max_length=65_536)]
"""What stands beside an answer's text, and is kept with the turn."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
MAX_STOPS, MAX_STOP = 16, 256
"""Stop strings of a request, and the characters of one."""
_HUGE = re.compile(rb"NaN|Infinity|[0-9][eE][+]?0*[0-9]{3}|[0-9]{300}")  # may be read as no finite number
_SCHEMAS = {"tools", "tool_choice", "response_format", "text", "output_config"}
"""The fields of all routes that may hold schemas."""
TEXT = frozenset({"text", "refusal"})
"""Types of content parts that hold nothing but text."""
_TEXT_PART = {"type", "text", "annotations", "logprobs", "cache_control"}
_REFUSAL_PART = {"type", "refusal"}
"""Fields of a part of text. An engine may read others whatever the type says, an image's URL for one."""


class Strict(BaseModel):
    """Accepts what is declared and nothing else, without converting types.

    A null is no field, and of what was answered any field is taken back: clients send what they hold as it is. Neither
    goes any further.
    """

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra={"additionalProperties": False})

    @property
    def is_ours(self) -> bool:
        """True of a piece of a conversation that may be an answer of ours that came back."""
        return answered(vars(self))

    @model_validator(mode="after")
    def _declared(self) -> Self:
        if self.__pydantic_extra__:
            self.drop_undeclared(all=self.is_ours)
        return self

    def drop_undeclared(self, *, all: bool) -> None:
        """Drop the fields that are not declared: those that are null, or all. Raises ``ValidationError`` of others."""
        extra = self.__pydantic_extra__ or {}
        strange = [name for name, value in extra.items() if value is not None and not all]
        if strange:
            found = [InitErrorDetails(type="extra_forbidden", loc=(name,), input=None) for name in strange[:1]]
            raise ValidationError.from_exception_data(type(self).__name__, found)
        extra.clear()


class Attune(Strict):
    """What to personalise in this request."""

    values: Annotated[list[Value], Field(max_length=32, fail_fast=True)] = Field(
        default_factory=list, description="Values for this request alone."
    )
    personalize: Personalize = Field(default="auto", description="Which of the user's preferences and adapter to use.")
    k: int | None = Field(
        default=None,
        ge=0,
        le=50,
        description="How many of the nearest earlier contexts vote on the preferences; 0: no preferences.",
    )
    adapter_version: Few | None = Field(default=None, description="One of the user's ready versions; 0 is none.")
    store: bool = Field(default=True, description="False: nothing is written about this request.")
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Your own name of the answer, which feedback may be about before you know its `id`.",
    )


class StreamOptions(Strict):
    """OpenAI's options of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


@dataclass(frozen=True)
class Composed:
    """A personalised prompt: the engine's fields, and the same as chat messages, which is what the turn keeps."""

    fields: dict[str, Any]
    prompt: list[Message]


class GenerationRequest(Strict, ABC):
    """A request for a generation, whichever route it came by."""

    path: ClassVar[str]
    """The engine's route, which is ours too."""
    not_forwarded: ClassVar[frozenset[str]] = frozenset(
        {
            "attune",
            "user",
            "safety_identifier",
            "metadata",
            "store",
            "service_tier",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
        }
    )
    """What the engine never sees: whose request it is, and what it has no use for."""
    prompt_fields: ClassVar[frozenset[str]]
    """What ``compose`` puts in place."""

    model: str = Field(min_length=1, max_length=512, description="The model that `GET /v1/models` names.")
    stream: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: Annotated[dict[str, str | None], few(16)] | None = None
    store: bool | None = Field(default=None, description="False: nothing is written about this request.")
    service_tier: str | None = Field(default=None, description="Accepted and without effect.")
    prompt_cache_key: str | None = Field(default=None, description="Accepted and without effect.")
    prompt_cache_options: dict[str, Any] | None = Field(default=None, description="Accepted and without effect.")
    prompt_cache_retention: str | None = Field(default=None, description="Accepted and without effect.")
    attune: Attune = Field(default_factory=Attune)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From a body's bytes. Raises pydantic's ``ValidationError``, or ``Invalid`` for what is no value of JSON."""
        body = cls.model_validate_json(raw)
        try:
            if _HUGE.search(raw):
                json.dumps(body.model_dump(), allow_nan=False)
        except ValueError as error:
            raise Invalid("The request holds NaN or infinity, which JSON has not.") from error
        if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:  # the walk costs more than the count
            for name, value in body.model_dump().items():
                check_depth(value, name)
        return body

    @property
    def choices(self) -> int:
        """How many answers there will be."""
        return 1

    @property
    def wants_usage(self) -> bool:
        """True when the client of a stream asked for a usage chunk of its own."""
        return False

    @property
    def stores(self) -> bool:
        """True when the turn may be written."""
        return self.attune.store and self.store is not False

    @abstractmethod
    def conversation(self) -> list[Message]:
        """The request as chat messages: what preferences are recalled by, and what the turn keeps."""

    @abstractmethod
    def compose(self, values: Sequence[Value], preferences: Sequence[str], *, system_role: bool) -> Composed:
        """The prompt with the user's values and preferences in place."""

    @abstractmethod
    def events(self) -> Events:
        """How to read this route's streams."""

    @classmethod
    @abstractmethod
    def transcript(cls, answer: dict[str, Any]) -> Transcript:
        """What a whole answer said."""

    def rewrites(self, composed: Composed) -> list[Rewrite]:
        """What the engine's answer repeats of our prompt, and what the client is told instead."""
        return []

    def check(self, settings: Settings, base_model: str) -> None:
        """Raise ``Invalid`` or ``ModelNotFound`` where the server's limits are not kept."""
        if self.model != base_model:
            raise ModelNotFound(self.model, base_model)
        if self.choices > settings.choices_limit:
            raise Invalid(f"n must be at most {settings.choices_limit}.", param="n")
        if self.attune.adapter_version and self.attune.personalize in ("off", "retrieval"):
            raise Invalid(f"personalize={self.attune.personalize!r} uses no adapter.", param="attune.adapter_version")
        check_values(self.attune.values, "attune.values")
        check_schemas(self.model_dump(include=_SCHEMAS, exclude_none=True))

    def payload(self, composed: Composed, *, model: str, cache_salt: str) -> dict[str, Any]:
        """The engine's request."""
        dumped = self.model_dump(exclude_unset=True, exclude={*self.not_forwarded, *self.prompt_fields})
        sent = {name: value for name, value in dumped.items() if value is not None}  # clients send what they left unset
        return {**sent, **composed.fields, "model": model, "cache_salt": cache_salt}


def check_count(messages: Sequence[Any], settings: Settings, param: str) -> None:
    """Raise ``Invalid`` when there are more messages than the server takes."""
    if len(messages) > settings.messages_limit:
        raise Invalid(f"At most {settings.messages_limit} messages are accepted.", param=param)


def check_logprobs(top_logprobs: int | None, settings: Settings, param: str = "top_logprobs") -> None:
    """Raise ``Invalid`` when more alternatives are asked for than the server gives."""
    if (top_logprobs or 0) > settings.logprobs_limit:
        raise Invalid(f"{param} must be at most {settings.logprobs_limit}.", param=param)


def check_parts(content: Any, settings: Settings, param: str, accepted: frozenset[str] = TEXT) -> None:
    """Raise ``Invalid`` for a content part that is not text, unless its URLs are of what the engine may fetch."""
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if part["type"] not in accepted:
            check_media(part, settings.media, f"{param}.{number}")


def answered(message: Mapping[str, Any]) -> bool:
    """``Strict.is_ours``, by the fields that are read so far."""
    return message.get("role") == "assistant" or message.get("type") in ("function_call", "reasoning")


def text_or_parts(content: Any, info: ValidationInfo) -> Any:
    """A validator: a string, ``None``, or a list of parts, each with a type and, where it is text, what it says.

    Of parts of text, other fields are dropped where they are null, and in what was answered.
    """
    ours = answered(info.data)
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("must be a string or a list of parts")
    for number, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ValueError(f"part {number} must be an object with a type")
        if part["type"] == "refusal" or part["type"].endswith("text"):
            said, fields = ("refusal", _REFUSAL_PART) if part["type"] == "refusal" else ("text", _TEXT_PART)
            if not isinstance(part.get(said), str):
                raise ValueError(f"part {number} must have a {said}")
            strange = sorted(part.keys() - fields)
            if named := [field for field in strange if part[field] is not None and not ours]:
                raise ValueError(f"part {number} is text and may not have the field {named[0]!r}")
            for field in strange:
                del part[field]
    return content


def one_or_more_strings(stop: Any) -> Any:
    """A validator: a string or a list of strings, few and short: each is looked for at every token."""
    stops = stop if isinstance(stop, list) else [stop]
    if stop is not None and not all(isinstance(s, str) for s in stops):
        raise ValueError("must be a string or a list of strings")
    if stop is not None and (len(stops) > MAX_STOPS or not all(0 < len(s) <= MAX_STOP for s in stops)):
        raise ValueError(f"may be {MAX_STOPS} strings of 1 to {MAX_STOP} characters at most")
    return stop


def name_or_object(choice: Any) -> Any:
    """A validator: a string or an object."""
    if choice is None or isinstance(choice, str | dict):
        return choice
    raise ValueError("must be a string or an object")


def text_of(content: Any) -> str:
    """The text in a message's content, its parts joined as vLLM joins them."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or () if isinstance(part.get("text"), str))
