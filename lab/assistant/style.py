"""Wishes and the style that they make: ``wishes.toml``, read once, and drawn for a task."""

import random
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.assistant.content import Task, fill

_FILE = Path(__file__).parent / "wishes.toml"


@dataclass(frozen=True)
class Style:
    """How a text is written; None is the kind's own way."""

    greeting: str | None = None
    signoff: str | None = None
    layout: str | None = None
    bullet: str = "-"
    length: str = "full"
    top: str | None = None
    bottom: str | None = None
    emoji: str | None = None
    exclaim: str | None = None
    contractions: str | None = None
    person: str = "I"
    spelling: str = "american"
    time: str = "12"
    date: str = "month"
    money: str = "$"
    numbers: str = "digits"
    order: str = "given"
    hedge: str | None = None
    thanks: str | None = None
    offer: str | None = None
    pleasant: str | None = None
    case: str | None = None
    bold: str | None = None
    fence: str | None = None
    hints: str | None = None
    docstring: str | None = None
    comments: str | None = None
    word: str = ""


@dataclass(frozen=True)
class Wish:
    """One wish as it is said, what it sets, and the rule that sees it."""

    id: str
    slot: str
    text: str
    sets: dict[str, str] = field(default_factory=dict)
    rule: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of wish, of ``wishes.toml``; ``often`` is its weight where several could be drawn."""

    id: str
    slot: str
    said: tuple[str, ...]
    unsaid: tuple[str, ...]
    set: dict[str, str]
    rule: str
    x: tuple[str, ...] = ()
    new: bool = False
    often: float = 1.0


def _read() -> tuple[Kind, ...]:
    rows: list[dict[str, Any]] = tomllib.loads(_FILE.read_text())["wish"]
    return tuple(
        Kind(
            row["id"],
            row["slot"],
            tuple(row["said"]),
            tuple(row["unsaid"]),
            row["set"],
            row["rule"],
            tuple(row.get("x", ())),
            row.get("new", False),
            row.get("often", 1.0),
        )
        for row in rows
    )


WISHES = _read()
BY_ID = {kind.id: kind for kind in WISHES}


def say(kind: Kind, task: Task, rng: random.Random, *, held_out: bool = False) -> Wish:
    """``kind`` in one of its phrasings, for texts like ``task``'s; its parameter is the writer's."""
    people = {"first": task.writer[0], "last": task.writer[1]}
    x = fill(rng.choice(kind.x), rng, people) if kind.x else ""
    text = rng.choice(kind.unsaid if held_out or not kind.said else kind.said)
    written = text.replace("{x}", x).replace("{kind}", task.plural)
    return Wish(
        kind.id,
        kind.slot,
        written,
        {name: value.replace("{x}", x) for name, value in kind.set.items()} | ({"word": x} if kind.new else {}),
        kind.rule.replace("{x}", x),
    )


def with_wishes(style: Style, wishes: list[Wish]) -> Style:
    """``style`` changed by ``wishes``; of two for one slot the later one holds."""
    for wish in wishes:
        changes: dict[str, Any] = dict(wish.sets)
        style = replace(style, **changes)
    return style
