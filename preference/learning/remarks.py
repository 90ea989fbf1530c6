"""What people say about a text in words, as wishes: by the rules of remarks.toml, and by what they put in quotes."""

import tomllib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import regex

from preference.learning.common_wishes import Observation, text_of
from preference.learning.layout import sentences
from preference.learning.proposer import LONGEST
from preference.text import as_data

_FILE = Path(__file__).parent / "remarks.toml"
LOOKED_AT = 4_000
"""Characters of a comment."""
PARTS = 12
"""Sentences of one."""
_QUOTED = r"[\"“”„«»'‘’「]([^\"“”„«»「」\n]{1,60}?)[\"“”«»'’」](?!\w)"
_NEVER = regex.compile(
    rf"(?i)\b(?:never|don['’]t|do not|stop|avoid|no more|drop|niemals|nie|kein|nicht|jamais|évite|nunca|evita)\b"
    rf"[^.!?\n\"“„«'‘「]{{0,40}}{_QUOTED}"
)
_ALWAYS = regex.compile(
    rf"(?i)\b(?P<how>always|please|sign|sign off|end|finish|close|start|begin|open|greet(?: me| them)?|immer|toujours|"
    rf"siempre)\b(?P<mid>[^.!?\n\"“„«'‘「]{{0,40}}){_QUOTED}"
)
_OPENER = regex.compile(
    r"(?i)^(?:(?:please|also|and|but|next time|from now on|in future|in the future|hmm+|ok(?:ay)?|bitte|ab jetzt|"
    r"s['’]il te plaît|por favor)[,:]?|no,)\s+"
)


_SAYS_NOTHING = regex.compile(
    r"(?i)^(?:thanks?|thank you|thx|great|perfect|excellent|awesome|nice|good(?! morning)|well done|love it|danke|"
    r"super|prima|merci|parfait|gracias|grazie|you|that|this|it|there(?! should)|i (?:am|was|did|have)|"
    r"i['’]m|\d+ \w+$)\b"
)
"""Praise, and statements: no instruction."""
_COMPLAINT = regex.compile(r"(?i)^(?:(?:way|much|far|a bit|a little|still|zu|trop) )?(?:too|zu|trop|demasiad[oa])\b")


def wishes(comment: str, spoken: str) -> list[str]:
    """The common wishes that a comment says, in the language ``spoken``, and what it says of quoted words."""
    text = comment[:LOOKED_AT]
    said = [(wish, match.span()) for wish, rule in _rules() if (match := rule.search(text))]
    # "don't use bullet points" says one thing, though "use bullet points" stands in it.
    whole = [
        wish
        for wish, (start, end) in said
        if not any(a <= start and end <= b and (a, b) != (start, end) for _, (a, b) in said)
    ]
    found = [text_of(Observation(wish, 0, 1), spoken) for wish in whole]
    return list(dict.fromkeys([*found, *_quoted(text)]))[:PARTS]


def parts(comment: str) -> list[str]:
    """The instructions in a comment, for a model that knows them by heart; of a complaint its wish."""
    found = []
    for sentence in sentences(comment[:LOOKED_AT]):
        text = sentence
        while (shorter := _OPENER.sub("", text)) != text:
            text = shorter
        if _COMPLAINT.match(text):
            found += wishes(text, "en")
        if _COMPLAINT.match(text) or _SAYS_NOTHING.match(text):
            continue
        text = as_data(text.lstrip("-*•· "), limit=LONGEST + 1)
        if text and len(text) <= LONGEST:
            found.append(text)
    return list(dict.fromkeys(found))[:PARTS]


def _quoted(text: str) -> list[str]:
    found = []
    for said in _NEVER.finditer(text):
        found.append(f"Never write “{said[1].strip()}”.")
    for said in _ALWAYS.finditer(text):
        how, what = said["how"].casefold(), said[3].strip()
        if said.start() in {one.start() for one in _NEVER.finditer(text)} or f"Never write “{what}”." in found:
            continue
        if how.startswith(("sign", "end", "finish", "close")):
            found.append(text_of(Observation("sign-off", 0, 1, what), "en"))
        elif how.startswith(("start", "begin", "open", "greet")):
            found.append(text_of(Observation("greeting", 0, 1, what), "en"))
        elif how != "please":
            found.append(f"Always write “{what}” where it fits.")
    return found


@lru_cache(maxsize=1)
def _rules() -> Sequence[tuple[str, "regex.Pattern[str]"]]:
    held = tomllib.loads(_FILE.read_text())
    pieces = {f"{{{name}}}": f"(?:{piece})" for name, piece in held["piece"].items()}

    def whole(expression: str) -> str:
        for name, piece in pieces.items():
            expression = expression.replace(name, piece)
        return expression

    return [(one["wish"], regex.compile(f"(?i)(?:{whole(one['says'])})")) for one in held["remark"]]
