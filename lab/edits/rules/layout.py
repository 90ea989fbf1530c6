"""Rules of layout, openings and endings."""

import re
from collections.abc import Callable
from itertools import pairwise

from lab.edits.rules.reading import FENCE, Rule, code, count, lines, sentences, share

BULLET = re.compile(r"^\s*(?:[-*•‣◦]|\[[ x]?\])\s+")
NUMBER = re.compile(r"^\s*(\d{1,2})[.)、．]\s*")
_SUBJECT = re.compile(r"^\W*(?:subject|betreff|objet|asunto|oggetto|主题)\W*:\W*", re.IGNORECASE)


def has_bullets(text: str) -> float:
    """Two bullets or more."""
    return min(1.0, sum(bool(BULLET.match(line)) for line in lines(text)) / 2)


def numbered(text: str) -> float:
    """Lines numbered 1, 2 and so on."""
    found = [int(match[1]) for line in lines(text) if (match := NUMBER.match(line))]
    return min(1.0, len(found) / 2) if found[:2] in ([1], [1, 2]) else 0.0


def has_heading(text: str) -> float:
    """A line that names what follows: Markdown's, in bold, or short and without an end, above other lines."""
    for line, below in pairwise([*(line.strip() for line in text.splitlines()), ""]):
        plain = 0 < len(line.split()) <= 5 and line[-1].isalnum() and not (BULLET.match(line) or NUMBER.match(line))
        listed = BULLET.match(below) or NUMBER.match(below)
        if re.match(r"#{1,6} \S|\*\*[^*]+\*\*:?$", line) or ((plain or line.endswith(":")) and listed):
            return 1.0
    return 0.0


def table(text: str) -> float:
    """A Markdown table with a head and a row."""
    found = lines(text)
    heads = [n for n, line in enumerate(found) if re.fullmatch(r"\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)+\|?", line)]
    return float(any(0 < n < len(found) - 1 and "|" in found[n - 1] and "|" in found[n + 1] for n in heads))


def code_fence(text: str) -> float:
    """Commands or code in a fence."""
    return float(FENCE.search(text) is not None)


def sorted_items(text: str) -> float:
    """The list's items in alphabetical order: the share of neighbours that are."""
    items = [BULLET.sub("", line).casefold() for line in lines(text) if BULLET.match(line)]
    pairs = list(pairwise(items))
    return share(sum(a <= b for a, b in pairs), len(pairs)) if len(pairs) > 1 else 0.0


def links_at_end(text: str) -> float:
    """The share of links that stand below all sentences, alone or with a number or a name."""
    links = count(r"https?://", text)
    at_end = 0
    for line in reversed(lines(text)):
        if "://" not in line or len(re.sub(r"\S*://\S+", "", line).split()) > 3:
            break
        at_end += count(r"https?://", line)
    return share(at_end, links)


def csv_semicolons(text: str) -> float:
    """Rows with semicolons and no commas, all of as many columns."""
    found = lines(code(text))
    rows = [line for line in found if ";" in line and "," not in line]
    return share(len(rows), len(found)) if len({row.count(";") for row in rows}) == 1 else 0.0


def paragraphs(text: str, number: int) -> float:
    """At least so many blocks with blank lines between them."""
    return min(1.0, len([block for block in re.split(r"\n\s*\n", text.strip()) if block.strip()]) / number)


def max_words(text: str, number: int) -> float:
    """At most so many words; beyond, their share."""
    return min(1.0, number / len(text.split()))


def starts_with(text: str, opening: str) -> float:
    """The first line, a subject line aside, begins so."""
    found = [line for line in lines(text) if not _SUBJECT.match(line)]
    return float(bool(found) and found[0].lstrip("*#_ ").casefold().startswith(opening.casefold()))


def ends_with(text: str, ending: str) -> float:
    """The last line has it."""
    return float(ending.casefold() in lines(text)[-1].casefold())


def starts_with_number(text: str) -> float:
    """A figure among the first three words."""
    return float(any(re.search(r"\d", word) for word in text.split()[:3]))


_OFFER = (
    r"let me know|feel free|do(n.t| not) hesitate|happy to help|anything else|lass .{0,20}wissen|zögern? nicht|"
    r"gerne? weiter|n.hésite|no dudes|non esitare|如有|欢迎"
)


def no_question_at_end(text: str) -> float:
    """The last sentence neither asks nor offers."""
    last = sentences(text)[-1]
    return float(re.search(rf"[?？]\W*$|{_OFFER}", last, re.IGNORECASE) is None)


def subject_has_deadline(text: str) -> float:
    """A subject line with a date, or a day and ``by``."""
    found = [line for line in lines(text) if _SUBJECT.match(line)]
    days = r"\d|\b(?:by|until|before|due)\b.*\b(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    return float(bool(found) and re.search(days, _SUBJECT.sub("", found[0]), re.IGNORECASE) is not None)


def contains(text: str, part: str) -> float:
    """The text has it somewhere."""
    return float(part.casefold() in text.casefold())


def lacks(text: str, part: str) -> float:
    """The text has it nowhere."""
    return 1 - contains(text, part)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        has_bullets, numbered, has_heading, table, code_fence, sorted_items, links_at_end, csv_semicolons,
        starts_with_number, no_question_at_end, subject_has_deadline,
    )
}  # fmt: skip
WITH_TEXT: dict[str, Callable[[str, str], float]] = {
    "starts_with": starts_with, "ends_with": ends_with, "contains": contains, "lacks": lacks,
}  # fmt: skip
WITH_NUMBER: dict[str, Callable[[str, int], float]] = {"max_words": max_words, "paragraphs": paragraphs}
