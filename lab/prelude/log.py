"""The log of a run: one JSON line a round, all that the report and a resumed run need."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.prelude.ports import Expense


@dataclass(frozen=True)
class Line:
    """One round of a chain: an arm that plays one seed of one environment in one variant.

    ``number`` counts from 0, ``rounds`` is how many the whole chain has. ``wants`` is the truth behind the round,
    ``preferences`` what the draft was written by. ``cost`` and ``words`` (of the draft) are in words; ``expense`` is
    what the chain spent so far. ``lesson`` is for the arm to go on from, ``adapter`` what there is to tell of one.
    ``broken`` says of each wish by name whether the draft broke it, where a rule can tell.
    """

    environment: str
    variant: str
    arm: str
    seed: int
    rounds: int
    number: int
    kind: str
    careless: bool
    cost: int
    words: int
    wants: Sequence[str]
    preferences: Sequence[str]
    zero: bool
    answer_seconds: float
    learn_seconds: float
    expense: Expense
    lesson: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] | None = None
    broken: dict[str, bool] = field(default_factory=dict)

    @property
    def chain(self) -> tuple[str, str, str, int]:
        """Environment, variant, arm and seed."""
        return self.environment, self.variant, self.arm, self.seed


def append(path: Path, line: Line) -> None:
    """Add a round to the log, for good: it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        # In front too: a run that was killed may have left half a line.
        file.write("\n" + json.dumps(asdict(line)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Line]:
    """All whole rounds of a log, chain by chain, by number; a round that was played twice counts as it was last."""
    found: dict[tuple[Any, ...], Line] = {}
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            held = json.loads(text)
        except ValueError:
            continue  # empty, or half a line
        line = Line(**{**held, "expense": Expense(**held["expense"])})
        found[*line.chain, line.number] = line
    return sorted(found.values(), key=lambda line: (line.chain, line.number))
