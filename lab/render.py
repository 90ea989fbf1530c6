"""The one right text for facts in a style, and the reading back of a style from any text.

``render`` is the world's oracle. ``detect`` uses only visible rules and works on texts that are not quite right,
so that a simulated user can judge what a model really wrote.
"""

import re

from lab.style import DEFAULT, PHRASINGS, TASK_ATTRIBUTES, Style
from lab.world import Facts

_GREETING = {DEFAULT: "Hello {},", "dear": "Dear {},", "hey": "Hey {}!", "morning": "Good morning {},", "none": ""}
_SIGNOFF = {DEFAULT: "Regards", "wishes": "Best wishes", "cheers": "Cheers", "thanks": "Many thanks", "none": ""}
_HEADING = {DEFAULT: "Summary:", "question": "What happened with {}?", "title": "Topic: {}", "none": ""}
_ENDING = {DEFAULT: "End of summary.", "source": "Source: {name}", "takeaway": "Takeaway: {what}.", "none": ""}
_QUESTION = {
    DEFAULT: "Is this fine?",
    "confirm": "Can you confirm this?",
    "doubts": "Are there any doubts?",
    "more": "Shall I send more details?",
    "none": "",
}
_OPENING = {
    "email": {
        DEFAULT: "This is about {}.",
        "formal": "I am writing to inform you about {}.",
        "casual": "Just a quick note about {}.",
        "warm": "I hope you are well, this is about {}.",
    },
    "summary": {
        DEFAULT: "The report is about {}.",
        "formal": "The present report concerns {}.",
        "casual": "So this one is all about {}.",
        "warm": "Here is the lovely story of {}.",
    },
}
_ACTION = {
    "email": {
        DEFAULT: "Please {}.",
        "formal": "It would be appreciated if you could {}.",
        "casual": "Could you just {}.",
        "warm": "It would be lovely if you could {}.",
    },
    "summary": {
        DEFAULT: "The next step is to {}.",
        "formal": "It is recommended to {}.",
        "casual": "Next up we {}.",
        "warm": "It would be lovely to {}.",
    },
}
_RECAP = "To sum up, {}."
_PIN, _STAR, _SMILEY, _CHECK = "📌", "⭐", "🙂", "✅"
_EMOJIS = {_PIN, _STAR, _SMILEY, _CHECK}
_NUMBERED = re.compile(r"^(?:\S+ )?\d\. ", re.MULTILINE)


def render(facts: Facts, style: Style) -> str:
    """The text that says ``facts`` in ``style``; attributes the style leaves out take their default."""

    def get(attribute: str) -> str:
        return style.get(attribute, DEFAULT)

    emoji, task = get("emoji"), facts.task
    sentences = [_upper(s) for s in _fact_sentences(facts, get("tone"), get("first"), get("length"))]
    if emoji == "each":
        sentences = [f"{_CHECK} {s}" for s in sentences]
    if get("format") == "bullets":
        sentences = [f"- {s}" for s in sentences]
    elif get("format") == "numbered":
        sentences = [f"{i}. {s}" for i, s in enumerate(sentences, 1)]
    body = [_OPENING[task][get("tone")].format(facts.topic), *sentences]
    if get("length") == "long":
        body.append(_RECAP.format(facts.what))
    if get("format") == "paragraph":
        body = [" ".join(body)]
    if task == "email":
        top, bottom = _GREETING[get("greeting")].format(facts.name), _SIGNOFF[get("signoff")]
    else:
        top = _HEADING[get("heading")].format(facts.topic)
        bottom = _ENDING[get("ending")].format(name=facts.name, what=facts.what)
    text = "\n".join(line for line in (top, *body, _QUESTION[get("question")], bottom) if line)
    mark = {DEFAULT: f"{_PIN} ", "start": f"{_STAR} "}.get(emoji, "")
    return f"{mark}{text} {_SMILEY}" if emoji == "end" else f"{mark}{text}"


def detect(text: str, facts: Facts) -> dict[str, str]:
    """Every attribute's value as it shows in ``text``; the default where nothing named shows."""
    task = facts.task
    plain = text.strip()
    for mark in _EMOJIS:
        plain = plain.removeprefix(mark).removesuffix(mark).strip()
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    head, tail = (lines[0], lines[-1]) if lines else ("", "")
    found = {
        "emoji": _emoji(text),
        "format": _format(lines),
        "tone": _tone(text, task),
        "first": _first(text, facts),
        "length": _length(text, facts),
        "question": _match(_QUESTION, [line for line in lines[1:] if line.endswith("?")][-1:]),
    }
    if task == "email":
        found["greeting"] = _opening(
            head, {"dear": "Dear ", "hey": "Hey ", "morning": "Good morning ", DEFAULT: "Hello"}
        )
        found["signoff"] = _match(_SIGNOFF, [tail])
    else:
        found["heading"] = _opening(head, {"question": "What happened", "title": "Topic:", DEFAULT: "Summary"})
        found["ending"] = _opening(tail, {"source": "Source", "takeaway": "Takeaway", DEFAULT: "End of summary"})
    return {attribute: found[attribute] for attribute in TASK_ATTRIBUTES[task]}


def slots(facts: Facts, style: Style) -> list[str]:
    """The fact strings that a text in this style must contain."""
    asked = _fact_sentences(facts, DEFAULT, style.get("first", DEFAULT), style.get("length", DEFAULT))
    values = [facts.topic, facts.what, facts.when, facts.where, facts.action]
    names = [facts.name] if style.get("greeting", DEFAULT) != "none" and facts.task == "email" else []
    return names + [facts.topic] + [v for v in values[1:] if any(v.lower() in s.lower() for s in asked)]


def _fact_sentences(facts: Facts, tone: str, first: str, length: str) -> list[str]:
    by_name = {
        "what": f"{facts.what}.",
        "when": f"The time is {facts.when}.",
        "where": f"The place is {facts.where}.",
        "action": _ACTION[facts.task][tone].format(facts.action),
    }
    order = [first, *(name for name in by_name if name != first)] if first in by_name else list(by_name)
    return [by_name[name] for name in (order[:2] if length == "short" else order)]


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _emoji(text: str) -> str:
    stripped = text.strip()
    if _CHECK in stripped:
        return "each"
    if stripped.startswith(_STAR):
        return "start"
    if stripped.endswith(_SMILEY):
        return "end"
    return DEFAULT if _PIN in stripped else "none"


def _format(lines: list[str]) -> str:
    if any(line.startswith("- ") for line in lines):
        return "bullets"
    if any(_NUMBERED.match(line) for line in lines):
        return "numbered"
    return "paragraph" if any(line.count(". ") >= 2 for line in lines) else DEFAULT


def _tone(text: str, task: str) -> str:
    for tone, opening in _OPENING[task].items():
        if tone != DEFAULT and opening.split(" {}")[0] in text:
            return tone
    return DEFAULT


def _positions(text: str, facts: Facts) -> list[tuple[int, str]]:
    """Where each fact's sentence starts, earliest first; facts that are missing are left out."""
    lowered = text.lower()
    markers = {
        "what": facts.what.lower(), "when": "the time is", "where": "the place is", "action": facts.action.lower(),
    }  # fmt: skip
    return sorted((lowered.find(marker), name) for name, marker in markers.items() if marker in lowered)


def _first(text: str, facts: Facts) -> str:
    positions = _positions(text, facts)
    return positions[0][1] if positions and positions[0][1] in PHRASINGS["first"] else DEFAULT


def _length(text: str, facts: Facts) -> str:
    if _RECAP.split("{}")[0] in text:
        return "long"
    return "short" if len(_positions(text, facts)) <= 2 else DEFAULT


def _opening(line: str, table: dict[str, str]) -> str:
    return next((value for value, opening in table.items() if line.startswith(opening)), "none")


def _match(table: dict[str, str], lines: list[str]) -> str:
    return next(
        (value for value, text in table.items() if text and lines and lines[0].rstrip(",.!") == text.rstrip(",.!")),
        "none",
    )
