"""The cost of an edit: Levenshtein distance on word tokens (PRELUDE, arXiv 2404.15269)."""

from collections.abc import Iterator, Sequence
from math import ceil

import regex
from rapidfuzz.distance import Levenshtein

from preference.normal import nfc

MAX_STEPS = 2**20
"""Of one comparison; a step compares a word with 64 others. Some ten milliseconds, in which no other thread runs."""

# Scripts written without spaces (Thai, Lao, Burmese, Khmer, Japanese, Chinese) count by character, with its marks; a
# sentence of them would else be one word. In others marks are parts of a word: the standard library's \w has none.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"(?!\p{{M}})[^\W{_UNSPACED}]+"  # no mark begins one: it belongs to what is before it
_TOKEN = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|{_WORD}(?:['\u2019]{_WORD})*|\n|[^\w\s]\p{{M}}*|\p{{M}}")

Words = Sequence[str]


def words(text: str) -> list[str]:
    """The word tokens of ``text``; a newline and a punctuation mark are tokens of their own, other space is none."""
    found: list[str] = _TOKEN.findall(nfc(text).replace("\r\n", "\n"), concurrent=True)  # without the GIL
    return found


def word_distance(a: str | Words, b: str | Words) -> int:
    """The least number of words to insert, delete or substitute to turn ``a`` into ``b``.

    Where one text is compared with many, give its ``words``: to find them takes longer than most comparisons. Of long
    texts that differ much (over 8,000 words each, and over some hundred differences) it is an upper bound: the texts
    are compared piece by piece.
    """
    return _distance(_words(a), _words(b))


def normalised_distance(a: str | Words, b: str | Words) -> float:
    """``word_distance`` by the number of words of the longer text, in [0, 1]; 0.0 for two empty texts."""
    before, after = _words(a), _words(b)
    return _distance(before, after) / max(len(before), len(after), 1)


def pieces(a: Words, b: Words) -> Iterator[tuple[Words, Words]]:
    """``a`` and ``b`` cut at the same proportions, as often as it takes to compare all pairs in ``MAX_STEPS``."""
    number = max(1, ceil(len(a) * len(b) / 64 / MAX_STEPS))
    for i in range(number):
        yield tuple(text[i * len(text) // number : (i + 1) * len(text) // number] for text in (a, b))  # type: ignore[misc]


def _distance(a: Words, b: Words) -> int:
    few = 32 * MAX_STEPS // max(len(a), len(b), 1)  # differences that are counted within the same steps: a band
    if len(a) * len(b) > 64 * MAX_STEPS and (exact := Levenshtein.distance(a, b, score_cutoff=few)) <= few:
        return exact
    return sum(Levenshtein.distance(before, after) for before, after in pieces(a, b))


def _words(text: str | Words) -> Words:
    return words(text) if isinstance(text, str) else text
