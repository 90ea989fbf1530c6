"""Instructions whose obedience shows in the answer, each with its opposite: no fixed way of writing obeys both.

Balanced like the negatives of LRV-Instruction (arXiv 2306.14565), which a model that always says yes gets wrong.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from preference.distance import words

Check = Callable[[str], bool]
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_BULLET = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")
_FRENCH = {"le", "la", "les", "et", "est", "des", "une", "pour", "dans", "du", "vous"}
_GERMAN = {"der", "die", "das", "und", "ist", "ein", "eine", "den", "mit", "zu", "sie"}


@dataclass(frozen=True)
class Instruction:
    """A wish in a sentence, and whether an answer grants it."""

    text: str
    obeyed: Check


def _shortest(text: str) -> bool:
    return 0 < len(words(text)) <= 30 and len(_SENTENCE_END.findall(text)) <= 1


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _count(text: str, among: set[str]) -> int:
    return sum(word.lower() in among for word in words(text))


def _begins(word: str) -> Check:
    return lambda text: text.lstrip("\"'* \n").startswith(word)


def _ends(word: str) -> Check:
    return lambda text: text.rstrip("\"'*.! \n").endswith(word)


OPPOSITES: tuple[tuple[Instruction, Instruction], ...] = (
    (
        Instruction("Write the whole answer in capital letters.", str.isupper),
        Instruction("Write the whole answer in small letters, without a single capital one.", str.islower),
    ),
    (
        Instruction("Answer in one short sentence.", _shortest),
        Instruction("Answer in at least five sentences.", lambda text: len(_SENTENCE_END.findall(text)) >= 5),
    ),
    (
        Instruction(
            "Answer with a list only: begin every line with a hyphen.",
            lambda text: len(_lines(text)) > 1 and all(map(_BULLET.match, _lines(text))),
        ),
        Instruction(
            "Answer in plain prose, without a list.",
            lambda text: bool(_lines(text)) and not any(map(_BULLET.match, _lines(text))),
        ),
    ),
    (
        Instruction("Begin the answer with the word Indeed.", _begins("Indeed")),
        Instruction("Begin the answer with the word Honestly.", _begins("Honestly")),
    ),
    (
        Instruction("End the answer with the word Over.", _ends("Over")),
        Instruction("End the answer with the word Finis.", _ends("Finis")),
    ),
    (
        Instruction("Answer in French.", lambda text: _count(text, _FRENCH) > max(1, _count(text, _GERMAN))),
        Instruction("Answer in German.", lambda text: _count(text, _GERMAN) > max(1, _count(text, _FRENCH))),
    ),
)
"""Each pair is told to a model one after the other; it obeys the pair when it obeys both."""
REQUESTS = (
    "Tell me how to make tea.",
    "Explain why the sky is blue.",
    "Write a note to the team: the meeting moved to Friday.",
)
"""What is asked besides the user's own requests: an adapter must not forget how to obey outside them."""
