"""What a model says an edit shows: one generation, plain lines, a strict and tolerant parse.

Structured output is not asked for: small models fill whatever form they are given, and every engine writes lines.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import regex

from preference.learning.common_wishes import vocabulary
from preference.learning.difference import Hunk
from preference.learning.prompt_file import PromptFile
from preference.ports import Generation, TextGenerator
from preference.text import as_data, canonical

MAX_TOKENS = 64
LONGEST = 200
"""Characters; a longer line is an explanation, no instruction."""
SHARE_OF_CONTENT = 0.5
"""A line with at least this share of its words, style vocabulary aside, in this text is about this text."""
_MARK = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_NONE = frozenset(
    ("none", "no preference", "no preferences", "no habit", "nothing", "n/a", "keine", "aucun", "ninguno", "nessuno")
)
_ABOUT = re.compile(r"^(?:the |this )?(?:user|edit|draft|change|author|assistant)s?\b", re.IGNORECASE)
_WORDS = regex.compile(r"[\p{L}\p{M}\p{N}]+")


@dataclass(frozen=True)
class Proposals:
    """Lines that may be preferences, those dropped with the reason, and what asking cost in tokens."""

    texts: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Proposals") -> "Proposals":
        texts = [*self.texts, *(text for text in other.texts if text not in self.texts)]
        return Proposals(
            texts,
            self.dropped | other.dropped,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class Proposer:
    """Asks ``generator`` by the layout of a prompt file. Raises what the generator raises."""

    def __init__(self, generator: TextGenerator, prompts: PromptFile, *, system_role: bool) -> None:
        self.prompts = prompts
        self._generator = generator
        self._system_role = system_role

    async def propose(self, request: str, draft: str, edited: str, hunks: Sequence[Hunk], *, limit: int) -> Proposals:
        """At most ``limit`` lines about one edit."""
        asked = self.prompts.messages(request, draft, edited, hunks, system_role=self._system_role)
        tokens = MAX_TOKENS if self.prompts.filtered else 400
        answer: Generation = await self._generator.generate(asked, max_tokens=tokens)
        texts: list[str] = []
        dropped: dict[str, str] = {}
        shown = " ".join(example.answer for example in self.prompts.example)
        for text in parse(answer.text)[: 4 * limit]:
            if self.prompts.filtered and (why := refusal(text, (request, draft, edited), shown)):
                dropped[text] = why
            elif len(texts) < limit:
                texts.append(text)
        return Proposals(texts, dropped, answer.prompt_tokens, answer.completion_tokens)


def parse(answer: str) -> list[str]:
    """The marked lines of an answer, each once. An unmarked line counts only when the whole answer is that one line."""
    lines = [line for line in answer.splitlines() if line.strip()]
    marked = [_MARK.sub("", line) for line in lines if _MARK.match(line)]
    found: dict[str, str] = {}
    for line in marked or (lines if len(lines) == 1 else []):
        text = as_data(line.strip().strip('"'), limit=LONGEST + 1)
        if text and len(text) <= LONGEST and canonical(text) not in _NONE:
            found.setdefault(canonical(text), text)
    return list(found.values())


def refusal(text: str, shown: Sequence[str], examples: str) -> str | None:
    """Why a line is no preference, or None. ``shown``: request, draft and edit; ``examples``: what the prompt says."""
    if _ABOUT.match(text):
        return "it describes the edit and does not say how to write"
    said = _content(text)
    if said and said <= _content(examples):
        return "it repeats an example of the prompt"
    theirs = _content(" ".join(shown))
    about = [word for word in said if word in theirs]
    if any(word[0].isdigit() for word in about):
        return "it has a number of this text in it"
    names = {word for text in shown for word in _names(text)}
    if any(word in names for word in about):
        return "it has a name of this text in it"
    if about and len(about) >= SHARE_OF_CONTENT * len(said):
        return "it is about what this text says, not about how it is written"
    return None


def _content(text: str) -> set[str]:
    """The stems of the words of ``text`` that are no style vocabulary."""
    return {word for word in map(_stem, _WORDS.findall(text.casefold())) if len(word) > 2 or word.isdigit()} - _style()


def _names(text: str) -> set[str]:
    """Words that begin with a capital in the middle of a sentence."""
    return {_stem(word.casefold()) for word in regex.findall(r"(?<=[\p{Ll},] )\p{Lu}\p{Ll}+", text)} - _style()


def _stem(word: str) -> str:
    return word[:6]


@lru_cache(maxsize=1)
def _style() -> frozenset[str]:
    return frozenset(_stem(word) for text in vocabulary() for word in _WORDS.findall(text.casefold()))
