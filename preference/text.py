"""Learned and stated text is data: this file makes it one safe line before it enters a prompt."""

import re
import unicodedata
from functools import lru_cache

# Brackets, pipes and braces carry every role tag, chat-template token and block delimiter in use
# (`<|im_end|>`, `[INST]`, `<<SYS>>`, `</preferences>`, `{{...}}`); their look-alikes carry none.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "{": "(", "}": ")", "|": "¦", "`": "'"})
_SPACE = re.compile(r"\s+")
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]")
"""What shows nothing though it is no format character: fillers, joiners, selectors. U+FE0F makes an emoji one."""
_STACKED = re.compile(r"(?<=\ufe0f)\ufe0f+")
# Some templates mark turns by a word and a colon alone (`USER: ... ASSISTANT: ...`).
_COLONS = frozenset(":\ufe13\ufe55\uff1a")
_SPEAKER = re.compile(
    r"\b(system|user|assistant|human|developer|tool|function|model|bot|ai|instructions?|response)(\s*)"
    f"[{''.join(_COLONS)}]",
    re.IGNORECASE,
)


def as_data(text: str, limit: int = 400) -> str:
    """One printable line of at most ``limit`` characters that cannot open or close any prompt structure.

    What it gives stays as it is when it is put through again.
    """
    seen = as_quote(text)
    if not (seen.isascii() and seen.isprintable()):
        seen = "".join(map(_printable, unicodedata.normalize("NFC", seen)))
        # Again, because what was dropped may have stood between a letter and its accent.
        seen = unicodedata.normalize("NFC", _STACKED.sub("", _INVISIBLE.sub("", seen)))
    line = _SPACE.sub(" ", seen).strip()
    if not _COLONS.isdisjoint(line):
        line = _SPEAKER.sub("\\1\\2\u2236", line)
    return line[:limit].rstrip()


def as_quote(text: str) -> str:
    """``text`` with its lines and spaces, but without the characters that prompt structure is made of."""
    if text.isascii():
        return text.translate(_LOOKALIKES)
    return "".join(map(_unstructured, text))


def canonical(text: str) -> str:
    """The form under which two preference texts count as equal: case, spacing and end punctuation ignored."""
    return as_data(text).casefold().lstrip("-*• ").rstrip(".!; ")


@lru_cache(maxsize=4096)
def _unstructured(c: str) -> str:
    """``c``, unless a tokenizer that normalises makes it, or a part of it, one of the structural characters."""
    plain = unicodedata.normalize("NFKD", c)
    flat = plain.translate(_LOOKALIKES)
    return c if flat == plain else flat


@lru_cache(maxsize=4096)
def _printable(c: str) -> str:
    category = unicodedata.category(c)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    if category in ("Cf", "Co", "Cs", "Cn"):
        return c if c == "\u200d" else ""
    letter = unicodedata.normalize("NFKD", c) if c > "\u2000" else c
    return letter if letter.isascii() and letter.isalpha() else c  # full-width, mathematical, circled letters
