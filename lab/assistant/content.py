"""What the everyday texts are about: tasks drawn from ``content.toml``, with their facts and how they are asked for."""

import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONTENT: dict[str, Any] = tomllib.loads((Path(__file__).parent / "content.toml").read_text())
KINDS: dict[str, dict[str, Any]] = {kind["name"]: kind for kind in CONTENT["kind"]}
NAMES = (*KINDS, "how-to", "list", "answer", "code")
_SLOT = re.compile(r"\{(\w+)\}")
_BARE = re.compile(r"<([tdmn])>")


@dataclass(frozen=True)
class Task:
    """One text to write. ``request`` and ``facts``, which are sentences without their end, have their amounts as
    ``content.toml`` marks them.

    ``asks`` are those of the facts that ask something of the reader, ``steps`` are whole sentences or items
    that are a list by nature; ``reader`` is how the text addresses its reader.
    """

    kind: str
    plural: str
    request: str
    reader: str
    writer: tuple[str, str]
    facts: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    title: str = ""
    topic: str = ""
    traits: Mapping[str, Any] = field(default_factory=dict)


Answered = Sequence[tuple[str, tuple[str, ...]]]
"""Questions, and the sentences of an answer."""


def task(rng: random.Random, kind: str | None = None, answered: Answered = ()) -> Task:
    """A task of ``kind``, or of any. Of ``answered`` come more questions than ``content.toml`` has."""
    if answered and kind is None and rng.random() < 0.2:
        asked, said = rng.choice(answered)
        return _answer(rng, asked, said)
    # Emails are what most people ask for.
    chosen = kind or rng.choices(NAMES, [4, 3, 3, 2, 2, 2, 2, 2, 1, 1, 2, 1.5, 2, 1.5])[0]
    if chosen in KINDS:
        return _letter(rng, KINDS[chosen])
    if chosen == "code":
        return _code(rng)
    return _answer(rng, *rng.choice(_EXPLAINED)) if chosen == "answer" else _list(rng, chosen)


def fill(text: str, rng: random.Random, known: dict[str, str] | None = None) -> str:
    """``text`` with its slots filled, and its bare <t>, <d>, <m> and <n> given values."""
    known = {} if known is None else known
    slots: dict[str, list[str]] = CONTENT["slots"]

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name in known:
            return known[name]
        return fill(rng.choice(slots[name]), rng, known) if name in slots else match[0]

    def amount(match: re.Match[str]) -> str:
        return f"<{match[1]}:{_AMOUNTS[match[1]](rng)}>"

    return _BARE.sub(amount, _SLOT.sub(value, text))


_AMOUNTS = {
    "t": lambda rng: f"{rng.randint(7, 21)}:{rng.choice(('00', '00', '15', '30', '30', '45'))}",
    "d": lambda rng: f"{rng.randint(1, 12)}-{rng.randint(1, 28)}",
    "m": lambda rng: str(rng.choice((rng.randint(5, 99), 10 * rng.randint(10, 95)))),
    "n": lambda rng: str(rng.randint(2, 9)),
}


def _letter(rng: random.Random, kind: dict[str, Any]) -> Task:
    slots: dict[str, list[str]] = CONTENT["slots"]
    theme = {name: rng.choice(slots[name]) for name in ("project", "event", "item", "broken", "thing")}
    facts: list[str] = []
    for said in rng.sample(kind["say"], rng.choices((1, 2, 3), (0.2, 0.45, 0.35))[0]):
        facts.append(fill(said, rng, theme if rng.random() < 0.7 else {}))
    asks = [fill(rng.choice(kind["ask"]), rng, theme)] if kind.get("ask") and rng.random() < 0.55 else []
    decide = fill(rng.choice(kind["decide"]), rng, theme) if "decide" in kind else ""
    asked, reader = rng.choice(kind["who"])
    people = {"first": rng.choice(slots["first"]), "last": rng.choice(slots["last"])}
    notes = [*facts, *asks]
    if rng.random() < 0.3:
        rng.shuffle(notes)
    spoken = (", ", ", ", "; ", " and ")[rng.randrange(4)].join(notes)
    words = {
        **theme, "who": fill(asked, rng, people), "notes": spoken, "Notes": spoken[0].upper() + spoken[1:],
        "decide": decide,
    }  # fmt: skip
    request = fill(rng.choice(kind["verbs"]), rng, words)
    topic = decide or theme["event" if kind.get("tags") else "item" if kind["name"] == "advert" else "project"]
    return Task(
        kind["name"], kind["plural"], request, fill(reader, rng, people), _writer(rng),
        tuple(notes), tuple(asks), title=_title(kind, topic, facts), topic=topic, traits=kind,
    )  # fmt: skip


def _list(rng: random.Random, kind: str) -> Task:
    title, steps = rng.choice(list(CONTENT[{"how-to": "howto", "list": "list"}[kind]].items()))
    ways = {
        "how-to": ("How do I {}?", "Explain how to {}.", "Write instructions: {}.", "Tell me how to {}."),
        "list": ("Write {}.", "Make {}.", "Give me {}.", "I need {}."),
    }[kind]
    plural = {"how-to": "instructions", "list": "lists"}[kind]
    named = {"how-to": f"How to {title}", "list": title}[kind]
    return Task(
        kind, plural, rng.choice(ways).format(title), "", _writer(rng), steps=tuple(steps), title=_capital(named)
    )


_EXPLAINED: Answered = [(asked, tuple(said)) for asked, said in CONTENT["explain"].items()]


def _answer(rng: random.Random, asked: str, said: tuple[str, ...]) -> Task:
    """A question with its answer, or that answer to be summarised: its first sentences have the gist."""
    request, title = rng.choice(("{}", "{}", "Please explain: {}", "Question: {}", "{} Answer briefly.")), asked
    plural, steps = "answers", said
    if len(said) > 2 and rng.random() < 0.25:
        ways = ("Summarize this in a few sentences.", "Summarise this text.", "Write a short summary of this report.")
        asked, plural, steps = f"{rng.choice(ways)}\n\n{' '.join(said)}", "summaries", said[:2]
        request, title = "{}", "Summary"
    return Task(
        "answer", plural, request.format(asked), "", _writer(rng), steps=steps, title=_capital(title.rstrip("?."))
    )


def _title(kind: dict[str, Any], topic: str, facts: list[str]) -> str:
    if kind["name"] in ("work email", "status report", "social post", "advert", "memo"):
        return _capital(topic)
    return _capital(kind["name"])


def _capital(text: str) -> str:
    text = re.sub(r"^(?:a|an|the) ", "", text)
    return text[:1].upper() + text[1:]


def _writer(rng: random.Random) -> tuple[str, str]:
    slots = CONTENT["slots"]
    return rng.choice(slots["first"]), rng.choice(slots["last"])


def _code(rng: random.Random) -> Task:
    function = rng.choice(CONTENT["function"])
    if rng.random() < 0.25:
        code = "\n".join([f"def {function['name']}(...):", *(f"    {line}" for line in function["lines"])])
        told = f"{function['does'][0].upper()}{function['does'][1:]}."
        asked = f"Write a short comment that says what this function does.\n\n{code}"
        return Task("answer", "comments", asked, "", _writer(rng), steps=(told,), title=_capital(function["does"]))
    ways = ("Write a Python function that {}.", "Python: a function that {}.", "I need a function in Python that {}.")
    request = rng.choice(ways).format(function["does"])
    return Task("code", "code", request, "", _writer(rng), title=_capital(function["does"]), traits=function)
