"""The cost of an edit: Levenshtein distance on word tokens (PRELUDE, arXiv 2404.15269)."""

import unicodedata

import regex
from rapidfuzz.distance import Levenshtein

# Scripts written without spaces (Thai, Lao, Burmese, Khmer, Japanese, Chinese) count by character, with its marks; a
# sentence of them would else be one word. In others marks are parts of a word: the standard library's \w has none.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"(?!\p{{M}})[^\W{_UNSPACED}]+"  # no mark begins one: it belongs to what is before it
_TOKEN = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|{_WORD}(?:['\u2019]{_WORD})*|\n|[^\w\s]\p{{M}}*|\p{{M}}")


def words(text: str) -> list[str]:
    """The word tokens of ``text``; a newline and a punctuation mark are tokens of their own, other space is none."""
    found: list[str] = _TOKEN.findall(unicodedata.normalize("NFC", text).replace("\r\n", "\n"))
    return found


def word_distance(a: str, b: str) -> int:
    """The least number of words to insert, delete or substitute to turn ``a`` into ``b``."""
    return Levenshtein.distance(words(a), words(b))


def normalised_distance(a: str, b: str) -> float:
    """``word_distance`` by the number of words of the longer text, in [0, 1]; 0.0 for two empty texts."""
    before, after = words(a), words(b)
    return Levenshtein.distance(before, after) / max(len(before), len(after), 1)
