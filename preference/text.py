"""Learned and stated text is data: nothing in it opens or closes prompt structure, and all else stays as written.

What would be a special token, a tag of ours or the beginning of a turn has one character replaced by its look-alike.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import regex

from preference.special_tokens import ANGLE, BARRED, NUMBERED, ODD, SQUARE

_LOOKALIKES = {"<": "‹", "〈": "‹", ">": "›", "[": "(", "]": ")", "|": "∣", ":": "∶"}

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_IGNORABLE = r"\p{Default_Ignorable_Code_Point}"
_NO_TEXT = r"\p{Bidi_Control}\p{Cs}\p{Noncharacter_Code_Point}\ufeff\ufff0-\ufffb\u2065\u206a-\u206f"
_RARE = regex.compile(rf"[\p{{M}}{_IGNORABLE}{_NO_TEXT}]")
_DROPPED = regex.compile(
    # The flags of England, Scotland and Wales are spelt in tag characters, which otherwise hide text.
    r"\U0001f3f4\U000e0067\U000e0062"
    r"(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074|\U000e0077\U000e006c\U000e0073)\U000e007f(*SKIP)(*FAIL)"
    rf"|(?={_RARE.pattern})(?:[{_NO_TEXT}\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
    r"|(?<!\p{Han})[\U000e0100-\U000e01ef]"  # variants of ideographs
    rf"|(?<={_IGNORABLE}{{2}}){_IGNORABLE}"
    rf"|(?<=[\p{{M}}{_IGNORABLE}]{{30}})[\p{{M}}{_IGNORABLE}])"  # as many as in Stream-Safe text (UAX #15)
)
"""What hides or reorders text, and what is more than languages and emoji need of what is invisible or stacked."""
_IGNORED = regex.compile(_IGNORABLE)
_VISIBLE = regex.compile(rf"[^\s{_IGNORABLE}\u2800]")
_UNSEEN = frozenset(("Mn", "Mc", "Me", "Cf", "Cn", "Co", "So"))
"""Categories of which normalisers drop some: accents, what is invisible, what their tables do not know yet (emoji)."""

_STRUCTURAL = re.compile(r"[<>\[\]|:〈]")
_ANGLE = re.compile(r"[<〈]([^<>〈〉]+)[>〉]")
_SQUARE = re.compile(r"\[([^\[\]]+)\]")
_BARS = re.compile(r"\|[^\s|]+\||\|[\w:-]+|[\w:-]+\||/?ifm\|\w+")
_GAPS = re.compile(r"[\s▁]+")
_BARRED = frozenset(name.replace("_", "") for name in BARRED)
_OURS = ("values", "preferences", "request", "draft", "edited")
_NAMES = ANGLE | frozenset(_OURS)
_NAMES_IN_ANY_CASE = frozenset(map(str.casefold, _NAMES))
_CLOSING = re.compile(rf"<\s*/\s*(?:{'|'.join(_OURS)})(?![\w:.-])", re.IGNORECASE)
# Some templates mark turns by a word and a colon alone: `USER: ... ASSISTANT: ...`, `### Response:`.
_LABEL = re.compile(r"\b([A-Za-z]+)\s*:")
_SPEAKERS = frozenset(("system", "user", "assistant", "human", "ai"))
_HEADINGS = frozenset("developer tool function model bot instruction instructions response".split())

_QUOTES = str.maketrans(dict.fromkeys('"‘’‚‛“”„‟«»‹›′`「」『』', "'"))


def as_data(text: str, limit: int = 400) -> str:
    """``text`` as one line of at most ``limit`` characters that cannot open or close any prompt structure.

    Empty where nothing would be seen. What it gives stays as it is when it is put through again.
    """
    if text.isascii() and text.isprintable():
        line = text.strip()[:limit].rstrip()
    else:
        line = _clean(" ".join(filter(None, map(str.strip, text.splitlines())))).strip()
        if len(line) > limit:
            line = _clean(line[:limit]).rstrip()  # again, because the cut may go through a flag
        if not _VISIBLE.search(line):
            return ""
    return _broken(line, turns=True)


def as_quote(text: str) -> str:
    """``text`` with its lines and indentation, in which no special token and no tag of ours is left."""
    return _broken(_clean(text), turns=False)


def canonical(text: str) -> str:
    """The form under which two preference texts count as equal.

    Case, spacing, a bullet, end punctuation, the shape of quotes and how characters are composed make no difference.
    """
    plain = as_data(text).translate(_QUOTES)
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", _IGNORED.sub("", plain))  # noqa: TID251 - rows of marks are bounded
    return " ".join(plain.casefold().split()).lstrip("-*•· ").rstrip(".!;,:。।۔ ")


def _clean(text: str) -> str:
    """``text`` without what hides or reorders text, or is none."""
    text = _CONTROL.sub(" ", text)
    return text if text.isascii() or not _RARE.search(text) else _DROPPED.sub("", text)


def _broken(text: str, turns: bool) -> str:
    """``text`` with a look-alike in the place of each character that opens structure, or with ``turns`` a turn."""
    plain = text.isascii()
    if not _STRUCTURAL.search(text if plain else unicodedata.normalize("NFKD", text)):  # noqa: TID251 - bounded rows
        return text
    parts = text if plain else [*map(_seen, text)]
    seen = "".join(parts)
    found = [*_openings(seen), *(_speakers(seen) if turns else ())]
    if not found:
        return text
    place = range(len(text)) if plain else [at for at, part in enumerate(parts) for _ in part]
    characters = list(text)
    for at in found:
        characters[place[at]] = _LOOKALIKES[seen[at]]
    return "".join(characters)


@lru_cache(maxsize=4096)
def _seen(c: str) -> str:
    """What a tokenizer that normalises may make of ``c``: its plain form, nothing of what is unseen."""
    if "\U0001ccd6" <= c <= "\U0001ccf9":  # outlined ones, of Unicode 16: Python's tables may be older
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[ord(c) - 0x1CCD6]
    plain = unicodedata.normalize("NFKD", c)  # noqa: TID251 - of one character
    return "".join(p for p in plain if p == "▁" or (unicodedata.category(p) not in _UNSEEN and not _IGNORED.match(p)))


def _openings(seen: str) -> Iterator[int]:
    """Where special tokens and tags of ours begin."""
    if "<" in seen or "〈" in seen:
        yield from (match.start() for match in _ANGLE.finditer(seen) if _is_angle(match[1].strip()))
        yield from (match.start() for match in _CLOSING.finditer(seen))
    if "[" in seen:
        yield from (match.start() for match in _SQUARE.finditer(seen) if _is_square(match[1].strip()))
    yield from (match.start() for match in ODD.finditer(seen))


def _is_angle(inner: str) -> bool:
    """Whether what stands between angle brackets makes them a special token or a tag of ours."""
    if _BARS.fullmatch(inner):
        return True
    name = inner.strip("/ ")
    key = _GAPS.sub("", name)
    if "|" in key:
        return _is_barred(key)
    if key in _NAMES or NUMBERED.fullmatch(key):
        return True
    if key.casefold() not in _NAMES_IN_ANY_CASE:
        return False
    # A word with one capital is a type or a component (`List<Image>`), and so is a capital alone (`Service<S>`).
    return not name.isalpha() or key.islower() or (key.isupper() and (len(key) > 1 or inner[0] == "/"))


def _is_barred(key: str) -> bool:
    return key.strip("|").replace("_", "").casefold() in _BARRED


def _is_square(inner: str) -> bool:
    """The same for square brackets. In small letters they are an index (`x[mask]`)."""
    key = _GAPS.sub("", inner.strip("/ "))
    if key[:1] == "|":
        return _is_barred(key)
    return key in SQUARE or bool(NUMBERED.fullmatch(key)) or (inner[:1] == "/" and key.upper() in SQUARE)


def _speakers(seen: str) -> Iterator[int]:
    """Where the colons stand that make turns: after a speaker in capitals, or where something begins.

    Elsewhere they are code: `def f(user: str)`.
    """
    for match in _LABEL.finditer(seen) if ":" in seen else ():
        word, capital = match[1].casefold(), match[1][0].isupper()
        speaker = word in _SPEAKERS
        if (speaker and capital) or ((speaker or (capital and word in _HEADINGS)) and _begins(seen[: match.start()])):
            yield match.end() - 1


def _begins(before: str) -> bool:
    """Whether a turn could begin after ``before``: at the start, in a heading, after a tag, a sentence or a colon."""
    said = before.rstrip()
    if not said.strip(" -*•#>|\"'“"):
        return True
    return said.endswith(("#", "]")) or (
        (said[-1] in ".!:" and said != before) or (said[-1] == ">" and not said.endswith(("->", "=>")))
    )
