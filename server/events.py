"""The engine's answers as data: what a generation said, and which event of a stream is which."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

DONE = b"data: [DONE]\n\n"
# Inside a JSON string these quotes would be escaped: text cannot look like either.
_FINISHES = re.compile(rb'"finish_reason"\s*:\s*"')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


@dataclass(frozen=True)
class Transcript:
    """What one generation said; one text a choice, empty where a choice only called tools."""

    completion_id: str = ""
    answers: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False
    """Whether the engine ended it at a bound or a stop sequence, not where the model would have."""

    @classmethod
    def of_choices(
        cls, completions: Sequence[dict[str, Any]], text_of: Callable[[dict[str, Any]], str | None]
    ) -> "Transcript":
        """From one whole completion, or from a stream's chunks.

        Without a usage chunk (cut short) tokens are the chunks that carried text.
        """
        texts: dict[int, list[str]] = {}
        spoken, usage, cut = 0, None, False
        for completion in completions:
            for choice in completion.get("choices", ()):
                cut = cut or choice.get("finish_reason") == "length" or isinstance(choice.get("stop_reason"), str)
                text = text_of(choice) or ""
                texts.setdefault(int(choice["index"]), []).append(text)
                spoken += bool(text)
            usage = completion.get("usage") or usage
        return cls(
            str(completions[0].get("id") or "") if completions else "",
            ["".join(texts.get(index, [])) for index in range(max(texts, default=-1) + 1)],
            int(usage["prompt_tokens"]) if usage else 0,
            int(usage.get("completion_tokens") or 0) if usage else spoken,
            cut,
        )


class Part(Enum):
    """What an event of the engine is to the relay."""

    BODY = auto()
    FINISH = auto()  # the last one with choices: it gets the ``attune`` object where no usage chunk follows
    USAGE = auto()  # goes on only to a client that asked for it, and then gets the ``attune`` object
    DONE = auto()  # nothing follows
    CLOSE = auto()  # gets the ``attune`` object, and nothing follows
    ERROR = auto()


class Events(Protocol):
    """Tells the events of one stream apart."""

    def part(self, event: bytes) -> Part:
        """What this event is; called once for each, in order."""
        ...

    def error(self, error: bytes) -> bytes:
        """The events that end a stream with an error, whose OpenAI body is given."""
        ...


class ChoicesEvents:
    """Chat and legacy completions: chunks with choices, a usage chunk, ``[DONE]``."""

    def __init__(self, choices: int) -> None:
        self._left = choices

    def part(self, event: bytes) -> Part:
        """See ``Events``."""
        if event.startswith(b"data: [DONE]"):
            return Part.DONE
        if event.startswith(b'data: {"error"'):
            return Part.ERROR
        if _NO_CHOICES.search(event):
            return Part.USAGE
        if _FINISHES.search(event):
            self._left -= _finished(event)
            return Part.FINISH if self._left <= 0 else Part.BODY
        return Part.BODY

    def error(self, error: bytes) -> bytes:
        """See ``Events``."""
        return b"data: " + error + b"\n\n" + DONE


class NamedEvents:
    """Responses and messages: each event has a name, and one of ``closing`` ends the stream."""

    def __init__(self, *closing: str) -> None:
        self._closing = tuple(f"event: {name}\n".encode() for name in closing)

    def part(self, event: bytes) -> Part:
        """See ``Events``."""
        if event.startswith(self._closing):
            return Part.CLOSE
        return Part.ERROR if event.startswith(b"event: error\n") else Part.BODY

    def error(self, error: bytes) -> bytes:
        """See ``Events``."""
        return b'event: error\ndata: {"type":"error",' + error[1:] + b"\n\n"


def data_of(event: bytes) -> dict[str, Any] | None:
    """What an event holds; ``None`` for a comment, ``[DONE]``, or half an event."""
    try:
        read = json.loads(event.partition(b"data:")[2])
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _finished(event: bytes) -> int:
    try:
        return sum(choice.get("finish_reason") is not None for choice in (data_of(event) or {})["choices"])
    except (TypeError, KeyError, AttributeError):
        return 0
