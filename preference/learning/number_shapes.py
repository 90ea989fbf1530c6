"""Numbers that an edit writes another way: grouped, shortened, rounded, in words or in digits."""

from collections import Counter
from collections.abc import Iterator

import regex

from preference.learning.shapes import MANY, Shown

_PLAIN = regex.compile(r"(?<![\d.,'’:/\w-])\d{4,12}(?![\d:/\w-]|[.,'’]\d)")
_GROUPED = regex.compile(r"(?<![\d.,])(\d{1,3})(?:([.,'’\u00a0\u202f ])\d{3})(?:\2\d{3})*(?![\d]|[.,]\d)")
_DECIMAL = regex.compile(r"(?<![\d.,:])\d{1,9}([.,])\d{1,2}(?![\d:]|[.,]\d)")
_SHORTENED = regex.compile(
    r"(?i)(?<![\d.,])(\d{1,3}(?:[.,]\d{1,2})?)[ \u00a0]?"
    r"(k|thousand|tsd\.?|mille|mil|mila|m|mio\.?|million(?:en|i|s)?|millones|millón|milh(?:ões|ão)|万|百万|億|亿)(?!\p{Ll})"
)
_TIMES = {"k": 1e3, "t": 1e3, "万": 1e4, "亿": 1e8, "億": 1e8}
_LISTED = regex.compile(r"(?m)^[ \t]*+\d{1,2}[.)、][ \t]*+")
_NUMERALS = {
    word: value
    for value, names in (
        (2, "two zwei deux dos due dois duas"), (3, "three drei trois tres tre três"),
        (4, "four vier quatre cuatro quattro quatro"), (5, "five fünf cinq cinco cinque"), (6, "six sechs seis sei"),
        (7, "seven sieben sept siete sette sete"), (8, "eight acht huit ocho otto oito"),
        (9, "nine neun neuf nueve nove"), (10, "ten zehn dix diez dieci dez"), (11, "eleven elf onze once undici"),
        (12, "twelve zwölf douze doce dodici doze"), (13, "thirteen dreizehn treize trece tredici"),
        (14, "fourteen vierzehn quatorze catorce quattordici catorze"), (15, "fifteen fünfzehn quinze quince quindici"),
        (16, "sixteen sechzehn seize dieciséis sedici dezesseis"), (20, "twenty zwanzig vingt veinte venti vinte"),
        (30, "thirty dreißig trente treinta trenta trinta"), (40, "forty vierzig quarante cuarenta quaranta quarenta"),
        (50, "fifty fünfzig cinquante cincuenta cinquanta cinquenta"),
        (60, "sixty sechzig soixante sesenta sessanta sessenta"),
        (100, "hundred hundert cent cien cento cem"),
    )
    for word in names.split()
}  # fmt: skip
_HAN_NUMERALS = dict(zip("二两三四五六七八九十", (2, 2, 3, 4, 5, 6, 7, 8, 9, 10), strict=True))
_HAN_NUMERAL = regex.compile(
    r"(?<![一二两三四五六七八九十百千万第周])[二两三四五六七八九十](?=[个個名位天年小件块元份岁歳回枚本台度時时号人])"
)


def numbers(draft: str, edited: str) -> Iterator[Shown]:
    """The same numbers, written another way."""
    plain, were_plain = set(_PLAIN.findall(edited)), set(_PLAIN.findall(draft))
    grouped, were_grouped = _grouped(edited), _grouped(draft)
    if same := {n for n in were_plain - plain if n in grouped}:
        yield "thousands", len(same), 0
    if same := {n for n in were_grouped.keys() - grouped.keys() if n in plain}:
        yield "no-thousands", len(same), 0
    large = {int(n) for n in were_plain | were_grouped.keys()} - {int(n) for n in plain | grouped.keys()}
    shortened = sorted(_shortened(edited))[:MANY]
    if same := {n for n in large for short in shortened if n >= 10_000 and abs(n - short) <= 0.05 * n}:
        yield "short-numbers", len(same), 0
    points, were_points = _decimals(edited), _decimals(draft)
    for wish, old, new in (("decimal-comma", ".", ","), ("decimal-point", ",", ".")):
        if same := {n for n in were_points[old] - points[old] if n in points[new] - were_points[new]}:
            yield wish, len(same), 0
    exact = were_points["."] | were_points[","]
    whole, were_whole = (set(regex.findall(r"(?<![\d.,])\d{1,9}(?![\d]|[.,]\d)", text)) for text in (edited, draft))
    rounded = {n for n in exact if str(round(float(n))) in whole - were_whole}
    if len(exact) >= 2 and len(rounded) >= 2 and not points["."] | points[","]:
        yield "round-numbers", len(exact), 0
    yield from _numerals(draft, edited)


def _grouped(text: str) -> dict[str, str]:
    return {regex.sub(r"\D", "", match[0]): match[2] for match in _GROUPED.finditer(text)}


def _shortened(text: str) -> list[float]:
    found = []
    for match in _SHORTENED.finditer(text):
        unit = match[2].casefold()
        times = 1e3 if unit in ("mil", "mille", "mila") else _TIMES.get(unit[0], 1e6)
        found.append(float(match[1].replace(",", ".")) * times)
    return found


def _decimals(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {".": set(), ",": set()}
    for match in _DECIMAL.finditer(text):
        found[match[1]].add(match[0].replace(",", "."))
    return found


def _numerals(draft: str, edited: str) -> Iterator[Shown]:
    was_word, word = _worded(draft), _worded(edited)
    was_digit, digit = _in_digits(draft), _in_digits(edited)
    to_digits = sum(word[n] < was_word[n] and digit[n] > was_digit[n] for n in was_word)
    to_words = sum(word[n] > was_word[n] and digit[n] < was_digit[n] for n in word)
    if to_digits and not to_words:
        yield "digits", to_digits, 0
    elif to_words and not to_digits:
        yield "number-words", to_words, 0


def _worded(text: str) -> Counter[int]:
    found = Counter(_NUMERALS[word] for word in regex.findall(r"\p{L}+", text.casefold()) if word in _NUMERALS)
    found.update(_HAN_NUMERALS[word] for word in _HAN_NUMERAL.findall(text))
    return found


def _in_digits(text: str) -> Counter[int]:
    return Counter(int(n) for n in regex.findall(r"(?<![\d.,:/])\d{1,3}(?![\d:/]|[.,]\d)", _LISTED.sub("", text)))
