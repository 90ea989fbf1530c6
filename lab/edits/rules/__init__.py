"""Rules that see a wish in a text: each gives its share of satisfaction, from 0 to 1. An empty text satisfies none.

A rule is named ``name``, or ``name:argument``, as ``ends_with:Mara``.
"""

from collections.abc import Iterable

from lab.edits.rules import code, layout, wording
from lab.edits.rules.reading import Rule

_RULES = {**layout.RULES, **wording.RULES, **code.RULES}
_WITH_TEXT = {**layout.WITH_TEXT, **wording.WITH_TEXT}
_WITH_NUMBER = layout.WITH_NUMBER


def of(name: str) -> Rule:
    """The rule of this name. Raises ``ValueError`` where there is none, or its argument is missing or no number."""
    base, colon, argument = name.partition(":")
    if base in _RULES and not colon:
        return _of_written(_RULES[base])
    if base in _WITH_TEXT and argument:
        with_text = _WITH_TEXT[base]
        return _of_written(lambda text: with_text(text, argument))
    if base in _WITH_NUMBER and argument.isdigit() and int(argument):
        with_number, number = _WITH_NUMBER[base], int(argument)
        return _of_written(lambda text: with_number(text, number))
    raise ValueError(f"there is no rule {name!r}")


def names() -> list[str]:
    """The names of all rules, without arguments."""
    return sorted([*_RULES, *_WITH_TEXT, *_WITH_NUMBER])


def _of_written(rule: Rule) -> Rule:
    return lambda text: float(rule(text)) if text.strip() else 0.0


def mean(rule: Rule, texts: Iterable[str]) -> float:
    """The rule's mean over ``texts``, of which there must be one."""
    shares = [rule(text) for text in texts]
    return sum(shares) / len(shares)
