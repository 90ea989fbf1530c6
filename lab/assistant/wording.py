"""How amounts, spelling, person and contractions are written: what a style changes within a sentence."""

import re

from lab.assistant.style import Style

_MONTHS = (
    "January February March April May June July August September October November December"
).split()  # fmt: skip
_NUMBERS = ("zero one two three four five six seven eight nine").split()
_BRITISH = {
    "colour": "color", "favourite": "favorite", "favour": "favor", "centre": "center", "organised": "organized",
    "grey": "gray", "neighbouring": "neighboring",
}  # fmt: skip
_CONTRACTIONS = {
    "I am": "I'm", "I have": "I've", "I will": "I'll", "I would": "I'd", "we are": "we're", "we have": "we've",
    "we will": "we'll", "it is": "it's", "that is": "that's", "you are": "you're", "do not": "don't",
    "does not": "doesn't", "did not": "didn't", "cannot": "can't", "is not": "isn't", "there is": "there's",
    "it will": "it'll",
}  # fmt: skip
_TOKEN = re.compile(r"(?:<([tdmnw]):([^>]*)>)")


def plain(text: str, style: Style) -> str:
    """``text`` with amounts, spelling, person and contractions as ``style`` says."""
    return _contracted(_person(_TOKEN.sub(lambda match: _amount(match[1], match[2], style), text), style), style)


def _amount(kind: str, value: str, style: Style) -> str:
    if kind == "w":
        return value if style.spelling == "british" else _BRITISH[value]
    if kind == "n":
        return _NUMBERS[int(value)] if style.numbers == "words" else value
    if kind == "m":
        return f"{style.money}{value}" if style.money in "$€" else f"{value} {style.money}"
    if kind == "t":
        hours, minutes = value.split(":")
        half = (
            f"{(int(hours) - 1) % 12 + 1}{'' if minutes == '00' else ':' + minutes} {'am' if int(hours) < 12 else 'pm'}"
        )
        said = f"{int(hours):02d}:{minutes}" if style.time == "24" else half
    else:
        month, day = map(int, value.split("-"))
        name = _MONTHS[month - 1]
        said = {"iso": f"2026-{month:02d}-{day:02d}", "day": f"{day} {name}"}.get(style.date, f"{name} {day}")
    return f"**{said}**" if style.bold else said


def _person(text: str, style: Style) -> str:
    if style.person != "we":
        return text
    for one, many in (
        (r"\bI am\b", "we are"), (r"\bI was\b", "we were"), (r"\bI do not\b", "we do not"), (r"\bI\b", "we"),
        (r"\bmy\b", "our"), (r"\bMy\b", "Our"), (r"\bme\b", "us"), (r"\bmyself\b", "ourselves"),
    ):  # fmt: skip
        text = re.sub(one, many, text)
    return re.sub(r"(^|[.!?:] |\n)we\b", r"\1We", text)


def _contracted(text: str, style: Style) -> str:
    if style.contractions != "yes":
        return text
    for long, short in _CONTRACTIONS.items():
        text = re.sub(rf"\b{long}\b", short, text)
        text = re.sub(rf"\b{long[0].upper()}{long[1:]}\b", short[0].upper() + short[1:], text)
    return text
