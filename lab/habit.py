"""What somebody does to every answer, and what no preference in words brings about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

LINES = (
    "Karl at the head office", "Vera, the reception", "Rosa at the station", "Hugo, the music room",
    "Peter at the library", "Simon, the control room",
)  # fmt: skip
"""Of words that the bundled model writes, by no phrase that it knows: no preference in words brings them about."""

SHORT = {"and": "&", "with": "w/", "you": "u", "your": "ur", "please": "pls", "are": "r", "because": "bc"}
"""Words that some people shorten as they type."""


@dataclass(frozen=True)
class Habit:
    """Ends every text with ``line``; None changes nothing."""

    line: str | None = None

    @property
    def said(self) -> str:
        """The habit in plain English."""
        return f'End with the line "{self.line}".'

    def signed(self, text: str) -> str:
        """``text`` as its user sends it."""
        return text if self.line is None else f"{text}\n{self.line}"

    def unsigned(self, text: str) -> str:
        """``text`` without the last line, where it is that."""
        return text if self.line is None else text.removesuffix(f"\n{self.line}")


@dataclass(frozen=True)
class Shorthand:
    """Shortens some words wherever they stand, by ``short``, which has the short form of each, in lower case."""

    short: Mapping[str, str] = field(default_factory=lambda: dict(SHORT))

    @property
    def said(self) -> str:
        """See ``Habit``."""
        return " ".join(f"Write {short} instead of {word}." for word, short in self.short.items())

    def signed(self, text: str) -> str:
        """See ``Habit``."""
        return self._words.sub(lambda match: self.short[match[0].lower()], text)

    def unsigned(self, text: str) -> str:
        """See ``Habit``."""
        return self._shorts.sub(lambda match: self._long[match[0].lower()], text)

    @cached_property
    def _words(self) -> re.Pattern[str]:
        return re.compile(rf"(?i)\b(?:{'|'.join(self.short)})\b")

    @cached_property
    def _long(self) -> dict[str, str]:
        return {short: word for word, short in self.short.items()}

    @cached_property
    def _shorts(self) -> re.Pattern[str]:
        return re.compile(rf"(?i)(?<![\w/])(?:{'|'.join(map(re.escape, self._long))})(?![\w/])")
