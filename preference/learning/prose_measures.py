"""What an edit of prose changed that takes more than an expression to count."""

from collections.abc import Iterator
from itertools import zip_longest

import regex
from rapidfuzz.distance import Levenshtein

from preference.distance import words
from preference.learning.common_wishes import Observation
from preference.learning.layout import letter, sentences

_WORDS = regex.compile(r"[\p{L}\p{M}\p{N}_'’-]+")


def short(draft: str, edited: str) -> Iterator[Observation]:
    """A text much shorter, or much longer."""
    before, after = size(draft), size(edited)
    if after <= 0.65 * before and before - after >= 7 and not one_cut(draft, edited):
        yield Observation("short", before, after)
    elif after >= 1.8 * before and after - before >= 25 and not one_cut(edited, draft):
        yield Observation("long", before, after)


def size(text: str) -> int:
    """The words of ``text``; marks of emphasis and punctuation make none longer."""
    return sum(word[0].isalnum() for word in words(text))


def one_cut(draft: str, edited: str) -> bool:
    """Whether one sentence was taken out, and nothing else touched: it was wrong, not long."""
    before, left = sentences(draft), set(sentences(edited))
    gone = [sentence for sentence in before if sentence not in left]
    return len(gone) == 1 and left <= set(before)


def opening(draft: str, edited: str) -> Iterator[Observation]:
    """Another greeting or sign-off, or none."""
    was, now = letter(draft), letter(edited)
    a, b = _phrase(was.greeting, edited, draft), _phrase(now.greeting, draft, edited)
    if not regex.search(r"\p{L}", b) and now.greeting:  # a name with a colon has no words of greeting
        a = b = ""
    if not (was.greeting and now.greeting) and _nearly(draft.split("\n", 1)[0], edited.split("\n", 1)[0]):
        pass  # a slip of the pen in a greeting, put right
    elif a and not b and not now.greeting:
        yield Observation("no-greeting", 1, 0)
    elif b and not was.greeting:
        yield Observation("add-greeting", 0, 1, b)
    elif a and b and a.casefold() != b.casefold():
        yield Observation("greeting", 1, 1, b)
    c, d = was.sign_off, now.sign_off
    if not (c and d) and _nearly(draft[-len(c or d) :], edited[-len(c or d) :]):
        pass
    elif d and _plain(c) != _plain(d) and not (c and _similar(c, d)):
        yield Observation("sign-off", int(bool(c)), 1, ", ".join(line.rstrip(",") for line in d.splitlines()))
    elif c and not d:
        yield Observation("no-sign-off", 1, 0)


def _phrase(greeting: str, other: str, own: str) -> str:
    """A greeting without whom it greets: what comes before the first name, or the title of one."""
    if not greeting:
        return ""
    if regex.search(r"\p{Han}", greeting):
        return greeting[-2:] if greeting.endswith(("您好", "你好")) else "：" if len(greeting) < 7 else greeting
    parts = greeting.split()
    kept = [parts[0]]
    for part, after in zip_longest(parts[1:], parts[2:], fillvalue=""):
        word, names = part.casefold().rstrip("."), bool(regex.match(r"\p{Lu}", after))
        if regex.match(r"\p{Lu}", part) and (word not in _TITLES or (names and word in _OF_NAMES)):
            break
        kept.append(part)
    return " ".join(kept).rstrip(",")


_TITLES = frozenset("madame monsieur damen herren herr frau mr mrs ms dr prof team all sir madam morning tag".split())
"""Capitalised words that belong to a greeting."""
_OF_NAMES = frozenset("madame monsieur herr frau mr mrs ms dr prof".split())
"""Those that go with the name, where one follows: "Hi Mrs Lund" greets others with "Hi"."""


def spelling(draft: str, edited: str) -> Iterator[Observation]:
    """British or American spelling."""
    before, after = set(_lower(draft)), set(_lower(edited))
    gone, come = before - after, after - before
    british = sum(any(uk in come for uk in _british(us)) for us in gone)
    american = sum(any(us in gone for us in _british(uk)) for uk in come)
    if british:
        yield Observation("british", british, 0)
    elif sum(any(uk in gone for uk in _british(us)) for us in come):
        yield Observation("american", american, 0)


def _british(word: str) -> set[str]:
    """What an American spelling may be in Britain."""
    ways = {
        regex.sub(old, new, word)
        for old, new in (
            (r"or(?=\b|s\b|ed\b|ing\b|ful|ite|able|hood|ly)", "our"), (r"iz(?=e|i|a)", "is"), (r"yz(?=e|i)", "ys"),
            (r"(?<=cent|theat|fib|met|lit|calib|spect|somb|scept|lust|meag|och|sab)er(?=s?\b)", "re"),
            (r"(?<=\w{3}[aeio])l(?=ed\b|ing\b|er\b)", "ll"), (r"(?<=def|off|lic|pret)ense\b", "ence"),
            (r"og(?=s?\b)", "ogue"), (r"\bgray", "grey"), (r"(?<=[a-z])ll(?=ment|ful)", "l"),
            (r"gram\b", "gramme"), (r"\bpractice", "practise"), (r"\bcheck", "cheque"), (r"\btire", "tyre"),
            (r"\baluminum", "aluminium"), (r"\bcurb", "kerb"), (r"\bjewelry", "jewellery"),
        )
    }  # fmt: skip
    return {way for way in ways if way != word and len(word) > 3}


def first(draft: str, edited: str) -> Iterator[Observation]:
    """What comes first in the edit, where it came late in the draft."""
    opening = sentences(letter(edited).body or edited)
    before = sentences(letter(draft).body or draft)
    if len(before) < 1 or not opening:
        return
    figure = regex.compile(r"^(?!\d{1,2}[.)、])[-+±]?\s*[\d€$£]")
    if figure.match(opening[0]) and not regex.match(r"^[-+±]?\s*[\d€$£]", before[0]):
        yield Observation("numbers-first", 0, 1)
    if len(before) >= 3:
        first = set(_long(opening[0]))
        overlaps = [len(first & set(_long(sentence))) / max(1, len(first)) for sentence in before]
        best = max(range(len(before)), key=lambda at: overlaps[at])
        if overlaps[best] >= 0.5 and best >= len(before) / 2 and overlaps[0] < 0.4 and len(first) >= 3:
            yield Observation("main-point-first", best, 0)


def own_lines(draft: str, edited: str) -> Iterator[Observation]:
    """What has a label stands in lines of its own."""
    labelled = regex.compile(r"(?m)^\**\p{L}[^\n:：.!?]{1,30}[:：]\**[ \t]*\S")
    if len(labelled.findall(edited)) >= 2 and len(labelled.findall(draft)) == 0:
        yield Observation("own-lines", 0, len(labelled.findall(edited)))


def messages(draft: str, edited: str) -> Iterator[Observation]:
    """Commit messages and the like: one line, or a subject and its body."""
    one, other = draft.strip(), edited.strip()
    subject, _, body = other.partition("\n\n")
    is_subject = 4 < len(subject) <= 60 and "\n" not in subject and not regex.search(r"[.!?:,]$", subject)
    is_body = 0 < len(body) < 300 and not regex.match(r"[-*\d#|]", body)
    is_letter = bool(letter(other).greeting or letter(other).sign_off)
    if "\n" not in one and len(one) < 300 and is_subject and is_body and not is_letter:
        yield Observation("subject-and-body", 0, 1)
    if "\n" not in other and len(one) < 120 and one.endswith(".") and one.rstrip(".") == other:
        yield Observation("no-final-stop", 1, 0)
    a, b = (_WORDS.findall(text)[:1] for text in (one, other))
    if a and b and len(one) < 300:
        was, now = a[0].casefold(), b[0].casefold()
        past = regex.sub(r"(?:ied|ed|d|es|s|ing)$", "", was)
        same = len(past) > 2 and now.startswith(past[: max(3, len(past) - 1)]) and len(now) < len(was)
        if (same and regex.search(r"(?:ed|ing|es|s)$", was)) or (
            regex.search(r"(?:ed|ing)$", was) and now in _COMMANDS
        ):
            yield Observation("imperative", 1, 0, b[0])
    prefix = regex.match(r"^(feat|fix|docs|chore|refactor|test|build|ci|perf|style)(?:\([\w-]+\))?!?: ", other)
    if prefix and not regex.match(r"^\w+(?:\([\w-]+\))?!?: ", one):
        yield Observation("type-prefix", 0, 1, prefix[1] + ":")


_COMMANDS = frozenset(
    "add allow avoid bump change check clean correct create cut delete disable document drop enable ensure extend "
    "extract fix handle hide improve keep let limit make merge move prevent raise refactor remove rename replace retry "
    "return revert send show simplify skip speed split start stop store support switch test translate update upgrade "
    "use validate write".split()
)


def _similar(a: str, b: str) -> bool:
    """Whether two sign-offs differ only in a letter or two of one word: a name put right."""
    one, other = a.split(), b.split()
    differing = [(x, y) for x, y in zip(one, other, strict=False) if x != y]
    if len(one) != len(other) or len(differing) != 1:
        return False
    x, y = differing[0]
    return Levenshtein.distance(x, y) <= 3 or (x[0].isupper() and y[0].isupper())


def _nearly(a: str, b: str) -> bool:
    return Levenshtein.distance(a, b, score_cutoff=2) <= 2


def _plain(text: str) -> str:
    return " ".join(_lower(text))


def _lower(text: str) -> list[str]:
    return [word.casefold() for word in _WORDS.findall(text)]


def _long(text: str) -> list[str]:
    return [word for word in _lower(text) if len(word) > 3 or word[0].isdigit()]
