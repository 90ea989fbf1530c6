"""The engine's answers as data: what a generation said, and which event of a stream is which."""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, ClassVar, NamedTuple, Protocol

import orjson

DONE = b"data: [DONE]\n\n"
_DATA = re.compile(rb"^data:(.*)$", re.MULTILINE)
TextOf = Callable[[dict[str, Any]], str | None]


class Rewrite(NamedTuple):
    """A member of an answer in which the engine repeats what it was sent, and what the client sent instead."""

    member: str
    said: Any
    told: Any


def rewrite(answer: dict[str, Any], rewrites: Sequence[Rewrite]) -> bool:
    """Tell the client its own words in a whole answer, or in an event of a stream; True where that changed anything.

    Events of responses and messages hold the answer under a name; an error may name the model in its message.
    """
    changed = False
    for member, said, told in rewrites:
        for held in (answer, answer.get("response"), answer.get("message")):
            if isinstance(held, dict) and member in held and held[member] == said:
                held[member] = told
                changed = True
        error = answer.get("error")
        if member == "model" and isinstance(error, dict) and said in str(error.get("message")):
            error["message"] = error["message"].replace(said, told)
            changed = True
    return changed


class Event:
    """One event of a stream: its bytes, and the object in them; None for a comment, ``[DONE]``, or half an event."""

    __slots__ = ("data", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.data: dict[str, Any] | None = None
        try:
            read = orjson.loads(b"\n".join(_DATA.findall(raw)))
        except orjson.JSONDecodeError:
            return
        if isinstance(read, dict):
            self.data = read

    @property
    def is_done(self) -> bool:
        """Whether it is ``[DONE]``."""
        return self.data is None and b"\n".join(_DATA.findall(self.raw)).strip() == b"[DONE]"

    def respell(self) -> None:
        """Make the bytes those of ``data``, which has changed."""
        others = (line + b"\n" for line in self.raw.splitlines() if line and not line.startswith(b"data:"))
        self.raw = b"".join(others) + b"data: " + orjson.dumps(self.data) + b"\n\n"


@dataclass(frozen=True)
class Transcript:
    """What one generation said; one text a choice, empty where a choice only called tools."""

    completion_id: str = ""
    answers: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False
    """Whether the engine ended it at a bound or a stop sequence, not where the model would have."""


class Part(Enum):
    """What an event of the engine is to the relay."""

    BODY = auto()
    FINISH = auto()  # the last one with choices: it gets the ``attune`` object where no usage chunk follows
    USAGE = auto()  # goes on only to a client that asked for it, and then gets the ``attune`` object
    DONE = auto()  # nothing follows
    CLOSE = auto()  # gets the ``attune`` object, and nothing follows
    ERROR = auto()


class Events(Protocol):
    """Reads one stream: tells its events apart, and keeps what they say. ``completion_id`` is empty until one tells."""

    completion_id: str

    def part(self, event: Event) -> Part:
        """What this event is; called once for each, in order."""
        ...

    def transcript(self) -> Transcript:
        """What was said so far."""
        ...

    def error(self, error: bytes) -> bytes:
        """The events that end a stream with an error, whose OpenAI body is given."""
        ...


class ChoicesEvents:
    """Chat and legacy completions: chunks with choices, a usage chunk, ``[DONE]``."""

    def __init__(self, choices: int, text_of: TextOf) -> None:
        self.completion_id = ""
        self._left = choices
        self._text_of = text_of
        self._texts: dict[int, list[str]] = {}
        self._spoken = 0
        self._usage: dict[str, Any] | None = None
        self._cut = False

    def part(self, event: Event) -> Part:
        """See ``Events``."""
        if (data := event.data) is None:
            return Part.DONE if event.is_done else Part.BODY
        if data.get("error"):
            return Part.ERROR
        finished = self.add(data)
        if data.get("choices") == []:
            return Part.USAGE
        self._left -= finished
        return Part.FINISH if finished and self._left <= 0 else Part.BODY

    def add(self, completion: dict[str, Any]) -> int:
        """Keep what a chunk says, or a whole completion; how many choices end in it."""
        finished = 0
        self.completion_id = self.completion_id or str(completion.get("id") or "")
        for choice in completion.get("choices") or ():
            text = self._text_of(choice) or ""
            self._texts.setdefault(int(choice["index"]), []).append(text)
            self._spoken += bool(text)
            finished += choice.get("finish_reason") is not None
            self._cut |= choice.get("finish_reason") == "length" or isinstance(choice.get("stop_reason"), str)
        self._usage = completion.get("usage") or self._usage
        return finished

    def transcript(self) -> Transcript:
        """See ``Events``. Without a usage chunk (cut short) tokens are the chunks that carried text."""
        usage = self._usage or {"prompt_tokens": 0, "completion_tokens": self._spoken}
        answers = ["".join(self._texts.get(index, [])) for index in range(max(self._texts, default=-1) + 1)]
        tokens = int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0)
        return Transcript(self.completion_id, answers, *tokens, self._cut)

    def error(self, error: bytes) -> bytes:
        """See ``Events``."""
        return b"data: " + error + b"\n\n" + DONE


class NamedEvents:
    """Responses and messages: each event has a name, and one of ``closing`` ends the stream."""

    closing: ClassVar[frozenset[str]]

    def __init__(self) -> None:
        self.completion_id = ""

    def part(self, event: Event) -> Part:
        """See ``Events``."""
        if (data := event.data) is None:
            return Part.BODY
        self.add(data)
        name = data.get("type")
        if name in self.closing:
            return Part.CLOSE
        return Part.ERROR if name == "error" else Part.BODY

    @abstractmethod
    def add(self, data: dict[str, Any]) -> None:
        """Keep what an event says."""

    @abstractmethod
    def transcript(self) -> Transcript:
        """See ``Events``."""

    def error(self, error: bytes) -> bytes:
        """See ``Events``."""
        return b'event: error\ndata: {"type":"error",' + error[1:] + b"\n\n"
