"""The wishes of everyday users: for each a check, the smallest edit that grants it, and several ways to say it.

A wish may have a choice of values (which sign-off, how many sentences); ``families`` that are ``TEST_ONLY`` are for
measuring alone: no constant of the learner, and no default of a trainer, is chosen by users who have them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from lab.everyday import words
from lab.everyday.layout import capitalised, is_item, is_title, parts, sentences, units

PASSES = 4


@dataclass(frozen=True)
class About:
    """What a wish may need of the request and its user: who is written to, in a few words what about, who writes."""

    name: str
    topic: str
    user: str


Granted = Callable[[str, Any, About], str]
"""The text, changed as little as may be, that grants a wish with a value."""


@dataclass(frozen=True)
class Wish:
    """``grant`` leaves a text alone that has the wish. ``last`` ones are granted after all others."""

    name: str
    kinds: Sequence[str]
    phrasings: Sequence[str]
    grant: Granted
    values: Sequence[Any] = ("",)
    excludes: Sequence[str] = ()
    test_only: bool = False
    order: int = 1


def _greeting(text: str, word: str, about: About) -> str:
    said = parts(text)
    rest = regex.sub(words.GREETING_WORD, "", said.greeting).strip(" ,!.") or about.name
    wanted = f"{word} {rest},"
    if said.greeting.startswith(f"{word} "):
        return text
    return f"{wanted}\n\n{text.strip()}" if not said.greeting else text.replace(said.greeting, wanted, 1)


def _sign_off(text: str, closing: str, about: About) -> str:
    said, wanted = parts(text), f"{closing},\n{about.user}"
    if text.rstrip().endswith(wanted):
        return text
    body = text.rstrip()
    if said.sign_off:
        body = body[: body.rfind(said.sign_off.split("\n")[0])].rstrip()
    return f"{body}\n\n{wanted}"


def _at_most(text: str, most: int, about: About) -> str:
    said = parts(text)
    held = units(said.body)
    if len(held) <= most:
        return text
    kept = held[:most]
    lines: list[str] = []
    for line in said.body.split("\n"):
        of_line = [line] if is_item(line) else sentences(line)
        lines.append(" ".join(of_line[: len(kept)]))
        kept = kept[len(of_line) :]
        if not kept:
            break
    return said.with_body("\n".join(lines).strip()).text


def _bullets(text: str, _: Any, about: About) -> str:
    said = parts(text)
    lines = [line for line in said.body.split("\n") if line.strip()]
    if lines and all(line.startswith("- ") for line in lines):
        return text
    plain = (regex.sub(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+", "", unit).strip() for unit in units(said.body))
    return said.with_body("\n".join(f"- {one}" for one in plain if one)).text


def _in_short(text: str, _: Any, about: About) -> str:
    said = parts(text)
    return text if said.body.startswith("In short:") else said.with_body(f"In short: {said.body}".strip()).text


def _title(text: str, _: Any, about: About) -> str:
    return text if is_title(text.strip().split("\n")[0]) else f"{about.topic.upper()}\n{text.strip()}"


def _last_line(text: str, tag: str, about: About) -> str:
    if text.rstrip().endswith(f"\n#{tag}"):
        return text
    body = regex.sub(r"(?:\s*#\w+)+\s*$", "", text.rstrip())
    return f"{body}\n#{tag}"


def _no_filler(text: str, _: Any, about: About) -> str:
    lines = []
    for line in text.split("\n"):
        kept = [_without_phrase(one) for one in sentences(line) if not words.FILLER_SENTENCES.match(one)]
        if kept or not line.strip():
            lines.append(" ".join(kept) if len(kept) < len(sentences(line)) or kept != sentences(line) else line)
    mended = regex.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return text if mended == text.strip() else mended


def _without_phrase(sentence: str) -> str:
    shorter = sentence
    while words.FILLER_PHRASES.match(shorter):
        shorter = words.FILLER_PHRASES.sub("", shorter, count=1)
    return sentence if shorter == sentence else capitalised(shorter)


def _verb_first(text: str, _: Any, about: About) -> str:
    mark = regex.match(r"^[#/*\"'\s]*", text)
    start = mark.end() if mark else 0
    found = words.VERBOSE.match(text, start)
    return text if found is None else _verb_first(text[:start] + capitalised(text[found.end() :]), _, about)


def _hashes(text: str, _: Any, about: About) -> str:
    lines = text.strip().split("\n")
    if all(line.startswith("# ") or line == "#" for line in lines):
        return text
    return "\n".join(f"# {line.lstrip('#/* ')}".rstrip() for line in lines)


def _no_marks(text: str, _: Any, about: About) -> str:
    return str(regex.sub(r"(?m)^#{1,6} +|\*\*|__", "", text))


def _words(table: Mapping[str, str]) -> Granted:
    pattern = regex.compile(rf"(?i)\b(?:{'|'.join(sorted(map(regex.escape, table), key=len, reverse=True))})\b")
    lower = {word.lower(): new for word, new in table.items()}

    def replaced(match: regex.Match[str]) -> str:
        new = lower[match[0].lower()]
        return capitalised(new) if match[0][:1].isupper() else new

    return lambda text, value, about: str(pattern.sub(replaced, text))


def _day_first(text: str, _: Any, about: About) -> str:
    return str(words.DATE.sub(r"\2 \1", text))


def _whole_day(text: str, _: Any, about: About) -> str:
    return str(words.TIME.sub(lambda m: f"{int(m[1]) % 12 + 12 * (m[3].lower() == 'p'):02}:{m[2] or '00'}", text))


EMAIL, SUMMARY, POST, ANSWER, COMMENT = KINDS = ("email", "summary", "post", "answer", "comment")
_PROSE = (EMAIL, SUMMARY, POST, ANSWER)

WISHES: tuple[Wish, ...] = (
    Wish(
        "no-filler", KINDS,
        ("No filler phrases such as 'I hope this finds you well' or 'Please do not hesitate'.",
         "Leave out filler phrases.", "Say things without stock phrases."),
        _no_filler, order=0,
    ),
    Wish(
        "verb-first", (COMMENT,),
        ("Begin with the verb, without 'This function'.", "Do not write 'This function': start with what it does."),
        _verb_first, order=0,
    ),
    Wish(
        "at-most", KINDS,
        ("Write at most {value} sentences.", "No more than {value} sentences.",
         "Keep it to {value} sentences at most."),
        _at_most, values=(2, 3), excludes=("bullets",), order=1,
    ),
    Wish(
        "bullets", (SUMMARY, ANSWER),
        ("Use bullet points only, each after a hyphen.", "Give me bullet points.", "Write it as a list with hyphens."),
        _bullets, excludes=("at-most", "in-short"), order=2,
    ),
    Wish(
        "in-short", (SUMMARY, ANSWER),
        ("Begin with 'In short: '.", "Put 'In short: ' at the very beginning.", "Open with the words 'In short: '."),
        _in_short, excludes=("bullets", "title"), order=3,
    ),
    Wish(
        "british", _PROSE,
        ("Use British spelling.", "Spell words as the British do.", "British English, please."),
        _words(words.BRITISH), order=4,
    ),
    Wish(
        "numerals", KINDS,
        ("Write numbers as digits.", "Use digits for numbers.", "Numerals instead of number words."),
        _words(words.NUMERALS), order=4,
    ),
    Wish(
        "no-exclamation", (EMAIL, POST),
        ("No exclamation marks.", "Do not use exclamation marks.", "End sentences with a full stop, never with '!'."),
        lambda text, _, about: regex.sub(r"!+", ".", text), order=4,
    ),
    Wish(
        "no-emoji", (POST, EMAIL),
        ("No emojis.", "Leave out emojis.", "Write without emojis."),
        lambda text, _, about: words.EMOJI.sub("", text), order=4,
    ),
    Wish(
        "no-markup", (SUMMARY, ANSWER, POST),
        ("No bold type and no headings.", "Plain text without Markdown.", "Do not use asterisks or '#' for layout."),
        _no_marks, order=4,
    ),
    Wish(
        "greeting", (EMAIL,),
        ("Begin the email with '{value}' and the name.", "Greet with '{value}'.", "Open emails with '{value}'."),
        _greeting, values=("Hi", "Hello", "Good morning"), order=5,
    ),
    Wish(
        "sign-off", (EMAIL,),
        ("Sign off with '{value}' and my name, {user}.", "End emails with '{value}, {user}'."),
        _sign_off, values=("Cheers", "All the best", "Warmly"), order=6,
    ),
    Wish(
        "hashes", (COMMENT,),
        ("Put '# ' before every line of a comment.", "Every line of a comment begins with '# '."),
        _hashes, order=6,
    ),
    Wish(
        "contractions", _PROSE,
        ("Use contractions such as don't and it's.", "Contract verbs: don't, we're, it's."),
        _words(words.CONTRACTIONS), test_only=True, order=4,
    ),
    Wish(
        "day-first", (EMAIL, POST, SUMMARY),
        ("Write dates with the day first, as in 14 March.", "The day comes before the month."),
        _day_first, test_only=True, order=4,
    ),
    Wish(
        "whole-day", (EMAIL, POST, SUMMARY),
        ("Write times by the 24-hour clock, as in 15:00.", "Use the 24-hour clock."),
        _whole_day, test_only=True, order=4,
    ),
    Wish(
        "title", (SUMMARY, POST),
        ("Put a short title in capital letters on the first line.", "Start with a title line in capitals."),
        _title, excludes=("in-short",), test_only=True, order=6,
    ),
    Wish(
        "last-line", (POST,),
        ("End with the line '#{value}'.", "The last line is '#{value}'."),
        _last_line, values=("greenlane", "oldtown", "millstreet"), test_only=True, order=7,
    ),
)  # fmt: skip
BY_NAME = {wish.name: wish for wish in WISHES}


@dataclass(frozen=True)
class Wanted:
    """A wish as one user has it: with a value, in a wording."""

    wish: Wish
    value: Any
    text: str

    def grant(self, text: str, about: About) -> str:
        """The text that has it."""
        return self.wish.grant(text, self.value, about)


def mend(text: str, wanted: Sequence[Wanted], about: About) -> str:
    """``text`` with all that is wanted of it, and else as it is. What granting one wish breaks of another is mended."""
    for _ in range(PASSES):
        before = text
        for one in sorted(wanted, key=lambda one: one.wish.order):
            text = one.grant(text, about)
        if text == before:
            break
    return text
