"""Whether a text meets a wish: rules that read the text alone, not how it was made. Each gives a share from 0 to 1."""

import re
from collections.abc import Callable

from lab.assistant.render import AMOUNTS
from lab.assistant.style import Wish
from lab.edits import rules
from preference.learning.layout import letter, sentences

_TIME = r"\b\d{1,2}(?::\d\d)? ?[ap]m\b"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_BRITISH = r"\b(?:colour|favour\w*|centre|organised|grey|neighbouring)\b"
_AMERICAN = r"\b(?:color|favor\w*|center|organized|gray|neighboring)\b"
_SPELLED = r"(?i)\b(?:two|three|four|five|six|seven|eight|nine)\b"
_PADDING = (
    r"(?i)let me know|feel free|hope (?:this|you|all)|look forward|miss this chance|keep you informed|"
    r"thank you for your understanding|note the following|happy to announce|do not hesitate|any questions"
)
_OFFER = (
    r"(?i)let me know if you (?:have|need)|feel free|hope this|look forward|miss this chance|keep you informed|"
    r"thank you for your understanding|do not hesitate|any questions"
)
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


def _body(text: str) -> list[str]:
    """The sentences, without what stands above them and without marks of lists."""
    found = [_LISTED.sub("", s).strip() for s in sentences(letter(text).body or text)]
    return [s for s in found if re.search(r"[A-Za-z]{2}", s) and not s.startswith(("#", "Subject", "TL;DR"))]


def _asked_first(text: str, _: str, draft: str) -> bool:
    asking = r"(?i)\b(?:please|could|can|do you|would|we need)\b"
    return any(_has(asking, s) and not _has(_PADDING, s) for s in _body(text)[:3])


def _concluded_first(text: str, _: str, draft: str) -> bool:
    return bool(body := _body(text)) and _has(r"(?i)\b(?:should|recommend|might want to|suggest)\b", body[0])


def _one_sentence(text: str, _: str, draft: str) -> bool:
    longest = max(re.split(r"\n\s*\n", text), key=len)
    longest = re.sub(r"\A(?:\w+[ ,]?){1,4}[!:]\s", "", longest)
    return len(re.findall(r"[.!?](?:\s|$)", longest)) <= 1


def _at_most(text: str, x: str, draft: str) -> bool:
    return len(_body(text)) <= AMOUNTS[x.lower()]


def _short_paragraphs(text: str, _: str, draft: str) -> bool:
    blocks = [block for block in re.split(r"\n\s*\n", letter(text).body or text) if block.strip()]
    return len(blocks) >= 2 and all(len(sentences(block)) <= 2 for block in blocks)


def _python(rule: str, text: str) -> bool:
    """A rule of Python, on the function alone where it stands in no fence."""
    return rules.of(rule)(text if "```" in text else text[max(0, text.find("def ")) :]) > 0.99


def _no_sign(text: str, _: str, draft: str) -> bool:
    return not _has(r"(?i)regards|sincerely|best,|cheers|\[your name\]", text)


def _contracted(text: str, _: str, draft: str) -> bool:
    return _has(r"\b\w+['’](?:m|re|ve|ll|d|s|t)\b", text) and not _has(r"\b(?:I am|do not|it is|cannot|I have)\b", text)


_OWN: dict[str, Callable[[str, str, str], bool]] = {
    "no_greeting": lambda text, _, draft: not letter(text).greeting,
    "signed": _signed,
    "no_sign": _no_sign,
    "no_list": lambda text, _, draft: not _LISTED.search(text),
    "lines": lambda text, _, draft: len(_lines(text)) >= max(2, len(sentences(text)) - 1),
    "short": lambda text, _, draft: not _has(_PADDING, text) and len(text.split()) <= len(draft.split()),
    "one_sentence": _one_sentence,
    "at_most": _at_most,
    "short_paragraphs": _short_paragraphs,
    "greets": lambda text, x, draft: any(line.casefold().startswith(x.casefold()) for line in _lines(text)[:3]),
    "no_offer": lambda text, _, draft: not _has(_OFFER, text),
    "calm": lambda text, _, draft: "!" not in text,
    "firm": lambda text, _, draft: rules.of("no_hedges")(text) == 1.0,
    "lower": lambda text, _, draft: not _has(r"[A-Z]", text),
    "euro_code": lambda text, _, draft: _has(r"(?i)\d EUR\b", text) and "€" not in text,
    "hints": lambda text, _, draft: _python("python_type_hints", text),
    "docstrings": lambda text, _, draft: _python("python_docstrings", text),
    "titled": lambda text, _, draft: _has(r"\A(?:#+ \S|\*\*[^*]+\*\*|[^.!?,:\n]{3,60}\n\n)", text),
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
