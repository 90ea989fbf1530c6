"""What an edit of a program changed that takes more than an expression to count."""

from collections.abc import Iterator

import regex

from preference.learning.common_wishes import Observation

_GUARD = regex.compile(
    r"(?m)^[ \t]*+(?:if|unless|guard)\b.*(?:return|raise|throw|continue)|"
    r"^[ \t]*+if\b.*[:{][ \t]*\n[ \t]*(?:return|raise|throw|continue)"
)
_SHORT_NAME = regex.compile(r"(?<![\w.])[a-z]\w{0,2}(?=\s*(?:[,):=]|\bin\b|:=))")


def program(draft: str, edited: str) -> Iterator[Observation]:
    """A program that is shorter, less deep, or has longer names."""
    lines, after = ([line for line in text.splitlines() if line.strip()] for text in (draft, edited))
    if len(after) <= 0.6 * len(lines) and len(lines) - len(after) >= 2:
        yield Observation("short-code", len(lines), len(after))
    if _depth(edited) < _depth(draft) and _GUARD.search(edited) and len(after) > 2:
        yield Observation("early-return", _depth(draft), _depth(edited))
    short, long = (_SHORT_NAME.findall(text) for text in (draft, edited))
    if len(short) >= 2 and len(long) <= len(short) / 3:
        yield Observation("names", len(short), len(long))


def _depth(text: str) -> int:
    """How deep the deepest line is indented, in steps of the least indentation."""
    indents = [len(line) - len(line.lstrip()) for line in text.expandtabs(4).splitlines() if line.strip()]
    steps = [indent for indent in indents if indent]
    return max(indents, default=0) // min(steps) if steps else 0
