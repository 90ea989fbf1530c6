"""The cost of an edit: Levenshtein distance on word tokens (PRELUDE, arXiv 2404.15269)."""

import re
import unicodedata

from rapidfuzz.distance import Levenshtein

# Scripts written without spaces count by character; a sentence of them would else be one word.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+(?:['\u2019][^\W{_CJK}]+)*|\n|[^\w\s]")


def words(text: str) -> list[str]:
    """The word tokens of ``text``; a newline and a punctuation mark are tokens of their own, other space is none."""
    return _TOKEN.findall(unicodedata.normalize("NFC", text).replace("\r\n", "\n"))


def word_distance(a: str, b: str) -> int:
    """The least number of words to insert, delete or substitute to turn ``a`` into ``b``."""
    return Levenshtein.distance(words(a), words(b))


def normalised_distance(a: str, b: str) -> float:
    """``word_distance`` by the number of words of the longer text, in [0, 1]; 0.0 for two empty texts."""
    before, after = words(a), words(b)
    return Levenshtein.distance(before, after) / max(len(before), len(after), 1)
