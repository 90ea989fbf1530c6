"""The kinds of feedback, and what each is to the rows: a kind more is a row more here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Type = Literal["edit", "demonstration", "comment", "rating", "ranking", "thumbs", "signal", "outcome"]


@dataclass(frozen=True)
class Kind:
    """What becomes of one kind.

    ``unlearned`` says why no job learns from it; None where one does. ``text``: it holds a text of the user's own.
    ``trains``: adapters are trained on it. ``passing``: it goes with its turn, and the newest alone is kept.
    ``judges``: who gave it has looked at the answer; ``done``: it says what they did with it. ``several``: more than
    one may stand of an answer, told apart by this field, and called so.
    """

    unlearned: str | None = None
    text: bool = False
    trains: bool = True
    passing: bool = False
    judges: bool = True
    done: bool = False
    several: tuple[str, str] | None = None


KINDS: Mapping[Type, Kind] = {
    "edit": Kind(text=True, done=True),
    "demonstration": Kind(text=True),
    "comment": Kind(trains=False, several=("comment", "comments")),
    "rating": Kind(
        "a rating is kept as it is: adapters that are trained by KTO learn from it, by the user's own median",
        several=("aspect", "ratings"),
    ),
    "ranking": Kind("a ranking is kept for adapters that are trained by DPO"),
    "thumbs": Kind("a thumb says not what would be better: it is kept for adapters that are trained by KTO"),
    "signal": Kind(
        "a signal weighs what edits said of the preferences that its answer was written by",
        trains=False, passing=True, done=True,
    ),
    "outcome": Kind(
        "an outcome is kept, and weighs once what else explains it is taken off",
        trains=False, passing=True, judges=False, several=("name", "outcomes"),
    ),
}  # fmt: skip
assert set(KINDS) == set(get_args(Type))

TEXTS = tuple(type for type, kind in KINDS.items() if kind.text)
UNTRAINED = tuple(type for type, kind in KINDS.items() if not kind.trains)
PASSING = tuple(type for type, kind in KINDS.items() if kind.passing)
JUDGING = tuple(type for type, kind in KINDS.items() if kind.judges)
DONE = tuple(type for type, kind in KINDS.items() if kind.done)
