"""What rules read a text by: its lines, sentences and code, what matches, and shares of it."""

import re
from collections.abc import Callable

Rule = Callable[[str], float]

FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


def share(part: float, whole: float, *, without: float = 0.0) -> float:
    """``part`` of ``whole``; ``without`` where there is nothing to have a part of."""
    return part / whole if whole else without


def lines(text: str) -> list[str]:
    """Those that are not blank, without blanks around."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def sentences(text: str) -> list[str]:
    """By their ends and by lines."""
    return [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def count(expression: str, text: str, flags: int = re.IGNORECASE) -> int:
    """How often it matches."""
    return len(re.findall(expression, text, flags))


def without(expression: str, flags: int = re.IGNORECASE) -> Rule:
    """Nothing in the text matches."""
    return lambda text: float(re.search(expression, text, flags) is None)


def sentences_without(expression: str) -> Rule:
    """The share of sentences that do not match."""
    seen = re.compile(expression, re.IGNORECASE)

    def rule(text: str) -> float:
        found = sentences(text)
        return 1 - share(sum(bool(seen.search(sentence)) for sentence in found), len(found))

    return rule


def rather(wanted: str, other: str, flags: int = 0) -> Rule:
    """Of what matches either expression, the share that matches the first one."""

    def rule(text: str) -> float:
        good = count(wanted, text, flags)
        return share(good, good + count(other, text, flags))

    return rule


def code(text: str) -> str:
    """What stands in fences; all of the text where there are none."""
    written = "\n".join(FENCE.findall(text))
    return written if written.strip() else text
