"""Whether two preferences say the same, in other words or another order.

By their words: sentence embeddings put “single quotes” and “double quotes” at .98, further together than most
paraphrases are. What is worded quite differently the judge finds out, as it adds nothing to what is known.
"""

from collections.abc import Iterable, Sequence

import regex

from preference.text import canonical

ALIKE = 0.8
"""The share of words that two wishes of one meaning have in common."""
_NOT = regex.compile(
    r"(?i)\b(?:no|not|never|without|avoid|don['’]t|less|fewer|remove|omit|leave out|leave no|"
    r"kein\w*|nicht|ohne|nie|weniger|vermeide\w*|verzichte\w*|pas|sans|jamais|moins|évite\w*|aucun\w*|"
    r"sin|nunca|menos|evit[ae]\w*|ningun\w*|non|senza|mai|meno|nessun\w*|não|sem)\b|[不无没别勿]|避免|ない|なし"
)
_EXACT = regex.compile(r"[“\"«„「『]([^”\"»“」』]+)[”\"»“」』]|(\d+)")
_WORDS = regex.compile(r"\p{Han}|[\p{Hiragana}\p{Katakana}]+|[\p{L}\p{M}\p{N}'’+#-]+")
_EMPTY = frozenset(
    "use using write writing keep make put add include always please with your that this from into for the and are "
    "bitte immer schreibe schreiben benutze benutzen verwende verwenden nutze nutzen eine einen der die das und mit "
    "utilise utiliser écris écrire toujours une les des avec "
    "usa usar escribe siempre una los las con scrivi sempre".split()
)


def same(a: str, b: str) -> bool:
    """Whether two short instructions say the same: of one polarity, with the same quotations, in the same words."""
    if canonical(a) == canonical(b):
        return True
    if bool(_NOT.search(a)) != bool(_NOT.search(b)) or _exact(a) != _exact(b):
        return False
    one, other = _words(a), _words(b)
    return bool(one and other) and len(one & other) >= ALIKE * len(one | other)


def meaning(text: str) -> tuple[bool, frozenset[str], frozenset[str]]:
    """What texts that surely say the same have in common: their polarity, quotations and words."""
    return bool(_NOT.search(text)), frozenset(_exact(text)), frozenset(_words(text))


def first_same(text: str, others: Iterable[str]) -> str | None:
    """The first of ``others`` that says the same."""
    return next((other for other in others if same(text, other)), None)


def _exact(text: str) -> set[str]:
    return {(one or other).casefold() for one, other in _EXACT.findall(text)}


def _words(text: str) -> set[str]:
    found: Sequence[str] = _WORDS.findall(_NOT.sub(" ", text.casefold()))
    return {word[:6] for word in found if (len(word) > 2 or not word.isascii()) and word not in _EMPTY}
