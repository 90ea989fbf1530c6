"""What an import is made of, whatever file it came in."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from store.message import Message

Format = Literal["attune", "mem0", "honcho", "letta", "chatgpt", "openwebui"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Pair:
    """What something else had answered to a request, and what the user made of it."""

    messages: Sequence[Message]
    draft: str
    final: str


@dataclass(frozen=True)
class Written:
    """A text of the user's own for a request."""

    messages: Sequence[Message]
    text: str


@dataclass(frozen=True)
class Wish:
    """A preference in words; without a ``context`` for every request."""

    text: str
    context: str | None = None


@dataclass(frozen=True)
class Judged:
    """What the user said of an answer: up or down, a ``rating`` from 1 to 10, a comment.

    ``message_id`` is the app's own name of the answer.
    """

    messages: Sequence[Message]
    answer: str
    message_id: str | None = None
    thumb: Literal["up", "down"] | None = None
    rating: int | None = None
    comment: str | None = None


Item = Pair | Written | Wish | Judged


@dataclass(frozen=True)
class Found:
    """The items of one row, and why other parts of it were left out."""

    items: Sequence[Item] = ()
    skipped: Sequence[str] = field(default=())


def digest(item: Item) -> str:
    """What recognises an item when it comes again: 64 hexadecimal digits."""
    told: dict[str, Any] = {"kind": type(item).__name__, **asdict(item)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
