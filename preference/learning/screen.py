"""Edits that show no preference, told without a call of a model, and why in words that a person understands."""

import regex

from preference.distance import words
from preference.learning.difference import is_code
from preference.learning.language import differ

SAME = "the draft was accepted as it was"
SPACES = "the edit differs from the draft in spaces alone"
CUT = "the draft was cut short, and the edit completes it"
LANGUAGE = "the edit is in another language than the draft"
STRANGE = "the edit is another text: it shares hardly a word with the request and the draft"
DETAIL = (
    "the edit changes a detail of what the text says, such as a fact, a name or a typing error, "
    "and not how it is written"
)
EMPTY = "there was no draft to compare the edit with"
ACCEPTED = frozenset((SAME, SPACES, CUT))
"""Reasons that leave a draft standing."""
COVERED = 0.05
"""An edit with a smaller share of its words in request or draft is another text."""
REPLY = 3
"""Words; an edit as short that shares none with its draft is a reply to it."""
_WORDS = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def nothing(request: str, draft: str, edited: str, *, cut: bool = False, counted: bool = True) -> str | None:
    """Why ``edited`` shows nothing, or None where it may.

    ``cut``: the draft ended before it was complete. Without ``counted`` texts are of a world that has one language.
    """
    if draft == edited:
        return SAME
    if _shape(draft) == _shape(edited):
        return SPACES
    if not draft.strip():
        return EMPTY
    if cut and _begins(_shape(edited), _shape(draft)):
        return CUT
    if counted and differ(draft, edited):
        return LANGUAGE
    if counted and _strange(request, draft, edited):
        return STRANGE
    return None


def _shape(text: str) -> list[str]:
    """What is compared: code by lines with their indentation, prose by words and marks."""
    if is_code(text):
        return [line.rstrip() for line in text.strip("\r\n").replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    lines = (line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return words("\n".join(line for line in lines if line))


def _begins(edited: list[str], draft: list[str]) -> bool:
    """Whether the edit goes on where the draft ended, whose last word may be half of one."""
    kept = max(1, len(draft) - 1)
    return len(edited) >= kept and edited[:kept] == draft[:kept]


def _strange(request: str, draft: str, edited: str) -> bool:
    known = _stems(f"{request}\n{draft}")
    said = _stems(edited)
    if len(words(edited)) <= REPLY + 1 < len(words(draft)) / 3 and not said & known:
        return True
    if not said:
        return False
    return sum(stem in known for stem in said) < COVERED * len(said)


def _stems(text: str) -> set[str]:
    found: set[str] = set()
    for word in _WORDS.findall(text.casefold()):
        if regex.search(r"[\p{Han}\p{Hiragana}\p{Katakana}]", word):
            found.update(word[i : i + 2] for i in range(len(word) - 1))
        elif len(word) > 3 or word.isdigit():
            found.add(word[:5])
    return found
