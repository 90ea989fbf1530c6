"""Whether a text meets a wish: rules that read the text alone, not how it was made. Each gives a share from 0 to 1."""

import re
from collections.abc import Callable

from lab.assistant.style import Wish
from lab.edits import rules
from preference.learning.layout import letter, sentences

_TIME = r"\b\d{1,2}(?::\d\d)? ?[ap]m\b"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_BRITISH = r"\b(?:colour|favour\w*|centre|organised|grey|neighbouring)\b"
_AMERICAN = r"\b(?:color|favor\w*|center|organized|gray|neighboring)\b"
_SPELLED = r"(?i)\b(?:two|three|four|five|six|seven|eight|nine)\b"
_LISTED = re.compile(r"^\s*(?:[-*•+→–]|\d+\.) ", re.MULTILINE)


def met(wish: Wish, text: str, draft: str) -> float:
    """How far ``text`` meets ``wish``. ``draft`` is a text of the same facts without wishes, to compare lengths."""
    name, _, argument = wish.rule.partition(":")
    if not text.strip():
        return 0.0
    if name in _OWN:
        return float(_OWN[name](text, argument, draft))
    return rules.of(wish.rule)(text)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _has(expression: str, text: str) -> bool:
    return re.search(expression, text) is not None


def _signed(text: str, sign: str, _: str) -> bool:
    ended = " ".join(" ".join(_lines(text)[-4:]).split()).casefold()
    return all(part.strip().casefold() in ended for part in sign.split(","))


def _asked_first(text: str, _: str, draft: str) -> bool:
    body = [s for s in sentences(letter(text).body) if not s.startswith(("#", "Subject", "TL;DR"))]
    asking = r"(?i)\b(?:please|could|can|do|would|need)\b"
    return bool(body) and any(_has(asking, s) and "let me know if you have" not in s for s in body[:2])


def _concluded_first(text: str, _: str, draft: str) -> bool:
    body = [s for s in sentences(text) if not s.startswith(("#", "Subject", "TL;DR"))]
    return bool(body) and _has(r"(?i)\b(?:should|recommend|might want to|suggest)\b", body[0])


def _contracted(text: str, _: str, draft: str) -> bool:
    return _has(r"\b\w+['’](?:m|re|ve|ll|d|s|t)\b", text) and not _has(r"\b(?:I am|do not|it is|cannot|I have)\b", text)


_OWN: dict[str, Callable[[str, str, str], bool]] = {
    "no_greeting": lambda text, _, draft: not letter(text).greeting,
    "signed": _signed,
    "no_sign": lambda text, _, draft: not letter(text).sign_off and "[Your Name]" not in text,
    "no_list": lambda text, _, draft: not _LISTED.search(text),
    "lines": lambda text, _, draft: len(_lines(text)) >= max(2, len(sentences(text)) - 1),
    "short": lambda text, _, draft: len(text.split()) <= 0.85 * len(draft.split()) + 1,
    "one_sentence": lambda text, _, draft: len(re.findall(r"[.!?](?:\s|$)", letter(text).body)) <= 1,
    "titled": lambda text, _, draft: _has(r"\A(?:#+ \S|\*\*[^*]+\*\*|[^.!?,\n]{3,60}\n\n)", text),
    "starts_with_raw": lambda text, x, draft: text.lstrip().casefold().startswith(x.casefold()),
    "contains_raw": lambda text, x, draft: x in text,
    "has_hashtags": lambda text, _, draft: _has(r"(?<!\w)#\w", text),
    "exclaims": lambda text, _, draft: text.count("!") >= 2 or (text.count("!") == 1 and len(sentences(text)) < 3),
    "contracted": _contracted,
    "british_spelled": lambda text, _, draft: _has(_BRITISH, text) and not _has(_AMERICAN, text),
    "american_spelled": lambda text, _, draft: _has(_AMERICAN, text) and not _has(_BRITISH, text),
    "time_12h": lambda text, _, draft: _has(_TIME, text) and not _has(r"\d:\d\d(?! ?[ap]m)", text),
    "day_first": lambda text, _, draft: (
        _has(rf"\b\d{{1,2}} {_MONTH}", text) and not _has(rf"{_MONTH} \d{{1,2}}\b", text)
    ),
    "euro_word": lambda text, _, draft: _has(r"\d euros?\b", text) and "€" not in text,
    "digits": lambda text, _, draft: _has(r"\b\d\b", text) and not _has(_SPELLED, text),
    "spelled_numbers": lambda text, _, draft: _has(_SPELLED, text),
    "ask_first": _asked_first,
    "conclusion_first": _concluded_first,
    "bold": lambda text, _, draft: _has(r"\*\*[^*\n]*\d[^*\n]*\*\*", text),
    "upper": lambda text, _, draft: sum(map(str.isupper, text)) > 0.8 * max(1, sum(map(str.isalpha, text))),
}  # fmt: skip
