"""What an edit changed that can be counted, and the common wish that each such change shows.

Small models name few wishes, and none for emojis, spelling or units; counts do. The wishes that regular expressions can
count stand in wishes.toml, what needs more than that stands here, and the texts that users read in wishes_texts.toml.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import regex
from rapidfuzz.distance import Levenshtein

from preference.distance import words
from preference.learning import shapes
from preference.learning.difference import changed, is_code
from preference.learning.layout import letter, sentences

_HERE = Path(__file__).parent
_WORDS = regex.compile(r"[\p{L}\p{M}\p{N}_'’-]+")


REWRITTEN = 0.6
"""A draft is written anew where at least this share of its words is gone."""
CHANCE = 2
"""Fewer of a kind than this may be gone from such a draft by chance."""


@dataclass(frozen=True)
class Observation:
    """A common wish that an edit shows: its id, words of the edit that belong to it, the counts before and after."""

    wish: str
    before: int
    after: int
    phrase: str = ""


@dataclass(frozen=True)
class _Counted:
    """A wish of wishes.toml. Expressions are by language."""

    id: str
    where: str
    gone: Mapping[str, Any]
    comes: Mapping[str, Any]
    more: Mapping[str, Any]
    least: int
    left: int

    def shown(self, draft: str, edited: str, language: str) -> Observation | None:
        gone, comes, more = (_of(table, language) for table in (self.gone, self.comes, self.more))
        if (self.gone and gone is None) or (self.comes and comes is None):
            return None
        before = after = 0
        if gone is not None:
            before = _count(gone, draft)
            if before < self.least:
                return None
            after = _count(gone, edited)
            if after > self.left or after >= before:
                return None
        if comes is not None:
            now = _count(comes, edited)
            if now < (1 if gone is not None else self.least):
                return None
            was = _count(comes, draft)
            if now <= was or (gone is None and was > self.left):
                return None
            if gone is None:
                before, after = was, now
        if more is not None and _count(more, edited) <= _count(more, draft):
            return None
        return Observation(self.id, before, after)


def observations(draft: str, edited: str, language: str) -> list[Observation]:
    """The common wishes that turn ``draft`` into ``edited``, each of them once."""
    where = "code" if is_code(edited) or is_code(draft) else "prose"
    counted = (wish.shown(draft, edited, language) for wish in _wishes() if wish.where in ("", where))
    found = [one for one in counted if one is not None]
    for measure in _CODE if where == "code" else _PROSE:
        found += measure(draft, edited)
    for shape in _CODE_SHAPES if where == "code" else _PROSE_SHAPES:
        found += [Observation(*shown) for shown in shape(draft, edited)]
    if where == "prose" and _rewritten(draft, edited):
        found = [one for one in found if not _by_chance(one)]
    if where == "prose" and _one_cut(draft, edited):
        found = [one for one in found if one.wish not in _MARKS]
    return _coherent({one.wish: one for one in found})


def _rewritten(draft: str, edited: str) -> bool:
    """Whether hardly a sentence of the draft is left."""
    out, _ = changed(draft, edited)
    return out >= REWRITTEN * len(words(draft))


def _by_chance(one: Observation) -> bool:
    """In a text written anew, a thing or two of a kind are gone by chance; what came was put there."""
    return one.before > one.after == 0 and one.before < CHANCE and one.wish in _RARE


def text_of(observation: Observation, language: str) -> str:
    """The wish as its user reads it, in their language or else in English."""
    by_language = texts()[observation.wish]
    return str(by_language.get(language, by_language["en"])).replace("{phrase}", observation.phrase)


def ids() -> set[str]:
    """All common wishes."""
    return set(texts())


def vocabulary() -> list[str]:
    """The texts of all common wishes: words of style."""
    return [text for by_language in texts().values() for text in by_language.values()]


def _coherent(found: dict[str, Observation]) -> list[Observation]:
    """Without what another wish already says."""
    for wish, others in _SAID_BY.items():
        if any(other in found for other in others):
            found.pop(wish, None)
    return list(found.values())


_MARKS = frozenset(
    "no-exclamation no-dashes no-placeholders no-ampersand no-latin no-capitals no-bold no-hashtags no-ellipsis "
    "no-and-or no-italics no-code-marks no-parentheses no-semicolons no-contrast".split()
)
"""They may be gone with the one sentence that had them."""
_RARE = _MARKS | frozenset("no-apology no-filler no-introduction no-question-at-end no-rules".split())
_SAID_BY = {
    "no-bullets": ("numbered", "table"),
    "no-numbered": ("bullets", "table"),
    "headings": ("subject-and-body",),
    "summary-first": ("answer-first",),
    "main-point-first": ("summary-first", "answer-first", "numbers-first"),
    "own-lines": ("bullets", "numbered", "table", "headings"),
    "no-greeting": ("greeting",),
    "no-sign-off": ("sign-off",),
    "contractions": ("informal",),
    "greeting": ("formal", "informal", "formal-address", "informal-address"),
    "no-apology": ("no-filler", "informal"),
    "no-placeholders": ("sign-off", "no-sign-off"),
    "no-capitals": ("plain", "no-exclamation", "no-emoji"),
    "no-headings": ("headings",),
    "no-dashes": ("bullets", "short"),
    "first-person-plural": ("first-person-singular",),
    "formal": ("informal",),
    "informal-address": ("formal-address",),
    "lower-case": ("sql-upper",),
    "no-thanks": ("no-filler",),
    "active-voice": ("short", "bullets", "numbered", "table"),
    "iso-dates": ("table",),
    "const": ("arrow-functions",),
    "title": ("subject-and-body", "headings"),
    "commands": ("numbered",),
    "no-connectives": ("short", "plain", "no-filler", "no-officialese", "bullets", "numbered"),
    "no-intensifiers": ("short", "plain", "no-filler", "no-officialese", "formal", "informal", "bullets", "numbered"),
    "no-officialese": ("plain",),
    "no-contrast": ("short", "plain", "bullets", "numbered"),
    "no-call-to-action": ("plain",),
    "no-introduction": ("no-praise",),
    "address-reader": ("formal-address", "informal-address", "formal", "informal", "commands", "numbered"),
    "time-minutes": ("24-hour", "12-hour"),
    "time-with-colon": ("24-hour",),
    "numeric-dates": ("iso-dates",),
    "month-words": ("iso-dates",),
    "no-date-endings": ("iso-dates", "numeric-dates"),
    "currency-before": ("currency-code", "currency-word"),
    "currency-after": ("currency-code", "currency-word"),
    "short-sentences": ("bullets", "numbered"),
    "paragraphs": ("headings", "summary-first", "own-lines", "title"),
    "no-fence": ("only-code",),
    "return-values": ("logging",),
    "no-var": ("const",),
    "error-handling": ("specific-exceptions", "raise-errors"),
}


def _short(draft: str, edited: str) -> Iterator[Observation]:
    before, after = _size(draft), _size(edited)
    if after <= 0.65 * before and before - after >= 7 and not _one_cut(draft, edited):
        yield Observation("short", before, after)
    elif after >= 1.8 * before and after - before >= 25 and not _one_cut(edited, draft):
        yield Observation("long", before, after)


def _size(text: str) -> int:
    """The words of ``text``; marks of emphasis and punctuation make none longer."""
    return sum(word[0].isalnum() for word in words(text))


def _one_cut(draft: str, edited: str) -> bool:
    """Whether one sentence was taken out, and nothing else touched: it was wrong, not long."""
    before, left = sentences(draft), set(sentences(edited))
    gone = [sentence for sentence in before if sentence not in left]
    return len(gone) == 1 and left <= set(before)


def _opening(draft: str, edited: str) -> Iterator[Observation]:
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


def _spelling(draft: str, edited: str) -> Iterator[Observation]:
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


def _first(draft: str, edited: str) -> Iterator[Observation]:
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


def _own_lines(draft: str, edited: str) -> Iterator[Observation]:
    labelled = regex.compile(r"(?m)^\**\p{L}[^\n:：.!?]{1,30}[:：]\**[ \t]*\S")
    if len(labelled.findall(edited)) >= 2 and len(labelled.findall(draft)) == 0:
        yield Observation("own-lines", 0, len(labelled.findall(edited)))


def _messages(draft: str, edited: str) -> Iterator[Observation]:
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


_GUARD = regex.compile(
    r"(?m)^[ \t]*+(?:if|unless|guard)\b.*(?:return|raise|throw|continue)|"
    r"^[ \t]*+if\b.*[:{][ \t]*\n[ \t]*(?:return|raise|throw|continue)"
)
_SHORT_NAME = regex.compile(r"(?<![\w.])[a-z]\w{0,2}(?=\s*(?:[,):=]|\bin\b|:=))")


def _program(draft: str, edited: str) -> Iterator[Observation]:
    lines, after = ([line for line in text.splitlines() if line.strip()] for text in (draft, edited))
    if len(after) <= 0.6 * len(lines) and len(lines) - len(after) >= 2:
        yield Observation("short-code", len(lines), len(after))
    if _depth(edited) < _depth(draft) and _GUARD.search(edited) and len(after) > 2:
        yield Observation("early-return", _depth(draft), _depth(edited))
    short, long = (_SHORT_NAME.findall(text) for text in (draft, edited))
    if len(short) >= 2 and len(long) <= len(short) / 3:
        yield Observation("names", len(short), len(long))


def _depth(text: str) -> int:
    """How deep the deepest line is indented, in steps of the least indentation."""
    indents = [len(line) - len(line.lstrip()) for line in text.expandtabs(4).splitlines() if line.strip()]
    steps = [indent for indent in indents if indent]
    return max(indents, default=0) // min(steps) if steps else 0


_PROSE: tuple[Callable[[str, str], Iterator[Observation]], ...] = (
    _short, _opening, _spelling, _first, _own_lines, _messages,
)  # fmt: skip
_CODE: tuple[Callable[[str, str], Iterator[Observation]], ...] = (_program,)
_PROSE_SHAPES = (
    shapes.headings, shapes.titles, shapes.numbers, shapes.closing, shapes.rhythm, shapes.order, shapes.people,
    shapes.sharp_s, shapes.remarks, shapes.indentation,
)  # fmt: skip
_CODE_SHAPES = (shapes.identifiers, shapes.indentation, shapes.remarks)


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


def _count(pattern: Any, text: str) -> int:
    return sum(1 for _ in pattern.finditer(text))


def _of(table: Mapping[str, Any], language: str) -> Any:
    return table.get("any") or table.get(language)


@lru_cache(maxsize=1)
def texts() -> dict[str, dict[str, str]]:
    """The texts of the common wishes, by wish and language."""
    return dict(tomllib.loads((_HERE / "wishes_texts.toml").read_text()))


@lru_cache(maxsize=1)
def _wishes() -> list[_Counted]:
    def table(value: Any) -> dict[str, Any]:
        by_language = {"any": value} if isinstance(value, str) else value or {}
        return {name: regex.compile(whole(expression)) for name, expression in by_language.items()}

    def whole(expression: str) -> str:
        """The expression with its pieces put in, which may have pieces themselves."""
        return str(regex.sub(r"\{([a-z][a-z-]+)\}", lambda name: whole(pieces[name[1]]), expression))

    wishes = tomllib.loads((_HERE / "wishes.toml").read_text())
    rows, pieces = wishes["wish"], wishes["piece"]
    return [
        _Counted(
            row["id"], row.get("in", ""), table(row.get("gone")), table(row.get("comes")), table(row.get("more")),
            row.get("least", 1), row.get("left", 0),
        )
        for row in rows
    ]  # fmt: skip
