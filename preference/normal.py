"""Unicode normalisation whose time grows with the text's length alone."""

import unicodedata

import regex

MAX_MARKS = 30
"""Combining marks in a row, as in Unicode's Stream-Safe Text Format (UAX #15); no language comes near it."""
_RUN = regex.compile(rf"(\P{{ccc=0}}{{{MAX_MARKS}}})\P{{ccc=0}}+")


def nfc(text: str) -> str:
    """``text`` in NFC, less the marks of a row beyond ``MAX_MARKS``.

    Sorting a row takes the standard library the square of its length, and nobody else runs meanwhile: 32,000 marks took
    two seconds.
    """
    if text.isascii():
        return text
    normal = unicodedata.normalize("NFC", _bounded(text))  # noqa: TID251 - the one place
    return _bounded(normal)  # a mark may be made of two


def _bounded(text: str) -> str:
    bounded: str = _RUN.sub(r"\1", text)
    return bounded
