"""The wishes of everyday users: for each a check, the smallest edit that grants it, and several ways to say it.

What wishes there are is in ``wishes.toml``; one may have a choice of values (which sign-off, how many sentences).
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
    """``grant`` leaves a text alone that has the wish; those of a lower ``order`` are granted first.

    ``test_only`` ones are for measuring alone: no constant of the learner is chosen by users who have them.
    """

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


KINDS = ("email", "summary", "post", "answer", "comment")
_GRANTED: dict[str, Granted] = {
    "no-filler": _no_filler, "verb-first": _verb_first, "at-most": _at_most, "bullets": _bullets,
    "in-short": _in_short, "british": _words(words.BRITISH), "numerals": _words(words.NUMERALS),
    "no-exclamation": lambda text, _, about: regex.sub(r"!+", ".", text),
    "no-emoji": lambda text, _, about: words.EMOJI.sub("", text),
    "no-markup": _no_marks, "greeting": _greeting, "sign-off": _sign_off, "hashes": _hashes,
    "contractions": _words(words.CONTRACTIONS), "day-first": _day_first, "whole-day": _whole_day, "title": _title,
    "last-line": _last_line,
}  # fmt: skip


def _all() -> Iterator[Wish]:
    for name, held in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items():
        yield Wish(name=name, grant=_GRANTED[name], **held)


WISHES = tuple(_all())
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
