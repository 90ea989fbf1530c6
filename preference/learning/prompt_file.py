"""How a model is asked what an edit shows: a file of its own, so that each model is asked in the layout it knows."""

import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from preference.learning.difference import Hunk, is_code
from preference.learning.difference import hunks as differing
from preference.text import as_quote, canonical
from store.errors import Invalid
from store.message import Message

GENERAL = Path(__file__).parent / "prompts" / "general.toml"
NAME = "learner.toml"
"""A model's folder may have its own, under this name."""
REQUEST, TEXT, HUNK = 600, 1600, 160
"""Characters of a request, of a text and of a side of a hunk that the learner is shown."""
HUNKS = 12
_PLACE = re.compile(r"\{(request|draft|edited|hunks)\}")


class Example(BaseModel):
    """An edit and the right answer about it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    request: str
    draft: str
    edited: str
    answer: str


class PromptFile(BaseModel):
    """A layout. ``counted``: common wishes are counted beside what the model says; ``filtered``: content is refused;
    with ``enough`` counted wishes the model is not asked. ``cohort`` are wishes that hardly any edit shows. ``known``,
    for a model that knows a fixed set of wishes: by what they are about, the phrasings of each, the first of which the
    model answers with; two about the same cannot both hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str
    system: str = ""
    counted: bool = False
    filtered: bool = False
    enough: int = 0
    cohort: tuple[str, ...] = ()
    example: tuple[Example, ...] = ()
    known: dict[str, dict[str, tuple[str, ...]]] = {}

    def as_known(self, text: str) -> str:
        """A wish in the words that the model knows it by; ``text`` itself, where it knows none."""
        place = self._known_as.get(canonical(text))
        return text if place is None else self.known[place[0]][place[1]][0]

    def exclude(self, a: str, b: str) -> bool:
        """Whether two wishes are known not to hold both."""
        one, other = self._known_as.get(canonical(a)), self._known_as.get(canonical(b))
        return one is not None and other is not None and one[0] == other[0] and one != other

    @cached_property
    def _known_as(self) -> dict[str, tuple[str, str]]:
        return {
            canonical(text): (about, value)
            for about, values in self.known.items()
            for value, texts in values.items()
            for text in texts
        }

    @classmethod
    def load(cls, path: Path = GENERAL) -> "PromptFile":
        """Raises ``Invalid`` with what is wrong."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise Invalid(
                f"The learner's prompt file {path} cannot be used: {error}", param="ATTUNE_LEARNER_PROMPT"
            ) from error

    def messages(
        self, request: str, draft: str, edited: str, hunks: Sequence[Hunk], *, system_role: bool
    ) -> list[Message]:
        """What is asked about one edit. Without a system role what would stand there begins the first question."""
        asked: list[Message] = (
            [{"role": "system", "content": self.system.strip()}] if self.system and system_role else []
        )
        for example in self.example:
            shown = differing(example.draft, example.edited, code=is_code(example.edited))
            asked.append(
                {"role": "user", "content": self._question(example.request, example.draft, example.edited, shown)}
            )
            asked.append({"role": "assistant", "content": example.answer})
        asked.append({"role": "user", "content": self._question(request, draft, edited, hunks)})
        if self.system and not system_role:
            first = asked[0]
            asked[0] = {**first, "content": f"{self.system.strip()}\n\n{first['content']}"}
        return asked

    def _question(self, request: str, draft: str, edited: str, hunks: Sequence[Hunk]) -> str:
        parts = {
            "request": as_quote(_cut(request, REQUEST)),
            "draft": as_quote(_cut(draft, TEXT)),
            "edited": as_quote(_cut(edited, TEXT)),
            "hunks": "\n".join(map(_shown, hunks[:HUNKS])),
        }
        # In one pass: what a text has in braces is no place for another.
        return _PLACE.sub(lambda place: parts[place[1]], self.user).strip()


def _shown(hunk: Hunk) -> str:
    before, after = (as_quote(_cut(" ".join(side.split()), HUNK)) for side in (hunk.before, hunk.after))
    if not before:
        return f"added: {after}"
    return f"{before} → {after}" if after else f"removed: {before}"


def _cut(text: str, limit: int) -> str:
    """``text`` cut in the middle to about ``limit`` characters, and said so."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} (… cut …) {text[-half:]}"
