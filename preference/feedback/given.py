"""What a user gives, of whichever kind: one shape for all, which `submission.py` stores.

What a kind has beyond an edit's text and a thumb stands in ``content``; what of a kind may stand beside another of the
same answer (an aspect that is rated, a signal, an outcome's name) is its ``slot``: a newer one replaces its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from preference.normal import nfc
from preference.text import canonical
from store.errors import Invalid
from store.feedback_kinds import TEXTS, Type
from store.message import Message
from store.rows import checked, storable

Source = Literal["user", "app", "model", "history"]
"""Who says it. ``history`` is what the server found in a conversation that came back."""
Signal = Literal["copied", "sent", "accepted", "regenerated", "discarded"]
UpOrDown = Literal["up", "down"]
Scale = Literal["1-5", "1-7", "1-10"]

MAX_EDIT = 200_000  # characters; the server's own limit is lower
MAX_COMMENT = 4_000
MAX_NAME = 64
MAX_RANKED = 8
MAX_STANDING = 16
"""Comments that stand of one answer; rated aspects and names of outcomes, too."""
MOST = 1e12
"""An outcome's value, at most, either way."""


@dataclass(frozen=True)
class Given:
    """Feedback as it comes in. ``completion_id`` is the answer's, or the app's own name of it.

    An edit has ``edited_text`` and perhaps its ``cost``, thumbs ``thumb``, a demonstration ``edited_text`` and the
    ``messages`` that it answers, perhaps with a ``draft`` that something else had answered. ``weight`` is in [0, 1].
    """

    type: Type
    completion_id: str = ""
    choice: int = 0
    edited_text: str | None = None
    cost: float | None = None
    thumb: UpOrDown | None = None
    content: Mapping[str, Any] | None = None
    slot: str | None = None
    messages: Sequence[Message] = ()
    draft: str | None = None
    source: Source = "user"
    weight: float = 1.0
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] | None = None

    def check(self) -> None:
        """Raise ``Invalid`` naming the field that cannot be stored."""
        if self.type in TEXTS:
            param = "edited_text" if self.type == "edit" else "text"
            if not (self.edited_text or "").strip() and self.type == "edit":
                message = "edited_text must not be empty; an answer that was thrown away is a signal, discarded"
                raise Invalid(message, param=param)
            checked(self.edited_text or "", param, MAX_EDIT)
        if self.draft is not None:
            storable(self.draft, "draft")
        for number, tag in enumerate(self.tags):
            checked(tag, f"tags.{number}", MAX_NAME)
        for name, value in (self.metadata or {}).items():
            for part in (name, value):
                storable(part, f"metadata.{name}")


def comment(text: str, **more: Any) -> Given:
    """What the user says about an answer in words. Raises ``Invalid`` (``comment``)."""
    checked(text, "comment", MAX_COMMENT)
    return Given("comment", content={"comment": text}, slot=_digest(canonical(text)), **more)


def rating(value: int, *, scale: Scale = "1-7", aspect: str | None = None, **more: Any) -> Given:
    """A number on a scale, of the whole answer or of one ``aspect``. Raises ``Invalid`` (``rating``, ``aspect``)."""
    least, most = bounds(scale)
    if not least <= value <= most:
        raise Invalid(f"rating must be from {least} to {most} on the scale {scale}", param="rating")
    slot = None if aspect is None else checked(aspect, "aspect", MAX_NAME)
    return Given("rating", content={"rating": value, "scale": scale, "aspect": aspect}, slot=slot, **more)


def ranking(answers: Sequence[tuple[str, int]], param: str, **more: Any) -> Given:
    """Answers to one request as (completion, choice), the best first. Raises ``Invalid`` naming ``param``."""
    if len(set(answers)) < len(answers):
        raise Invalid(f"{param} must name each answer once", param=param)
    if not 2 <= len(answers) <= MAX_RANKED:
        raise Invalid(f"{param} must name 2 to {MAX_RANKED} answers", param=param)
    held = [{"completion_id": id, "choice": choice} for id, choice in answers]
    (id, choice), *_ = answers
    return Given("ranking", id, choice, content={"ranking": held, "param": param}, **more)


def signal(value: Signal, **more: Any) -> Given:
    """What the user did with an answer."""
    return Given("signal", content={"signal": value}, slot=value, **more)


def outcome(name: str, value: float, **more: Any) -> Given:
    """What came of an answer, by the app's own name of it. Raises ``Invalid`` (``name``)."""
    checked(name, "name", MAX_NAME)
    return Given("outcome", content={"name": name, "value": float(value)}, slot=name, **more)


def demonstration(messages: Sequence[Message], text: str, *, draft: str | None = None, **more: Any) -> Given:
    """A text of the user's own for a request. With a ``draft``, what something else had answered to it."""
    if not any(message.get("role") == "user" for message in messages):
        raise Invalid("messages must have a user's message: what the text answers", param="messages")
    return Given("demonstration", edited_text=text, messages=messages, draft=draft, **more)


def history_key(type: str, completion_id: str, choice: int, slot: str | None, what: str) -> str:
    """The key under which what a history says counts once, ``what`` being its text: however it is put."""
    parts = (type, completion_id, str(choice), slot or "", " ".join(nfc(what).split()))
    return f"history:{hashlib.sha256(chr(0).join(parts).encode(errors='surrogatepass')).hexdigest()}"


def bounds(scale: str) -> tuple[int, int]:
    """The least and the largest number of a scale."""
    least, most = map(int, scale.split("-"))
    return least, most


def slot_of(answers: Sequence[tuple[str, int]]) -> str:
    """The slot of a ranking: of the answers that it ranks, in any order."""
    return _digest(*(f"{id} {choice}" for id, choice in sorted(answers)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
