"""What is written down of each round, all that the report and a resumed run need."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.prelude.ports import Expense
from lab.work import Work

STEP = "round"


@dataclass(frozen=True, order=True)
class Chain:
    """Which arm plays which environment, and how."""

    environment: str
    variant: str
    arm: str
    seed: int

    def __str__(self) -> str:
        """As in ``email plain cipher-5 seed 1``."""
        return f"{self.environment} {self.variant} {self.arm} seed {self.seed}"

    @property
    def learns_on_the_server(self) -> bool:
        """Whether the server learns for its user."""
        return self.arm.startswith("attune")

    @property
    def tenant(self) -> str:
        """Its tenant on a server of our own: one of its own if the server learns for it."""
        if not self.learns_on_the_server:
            return "baselines"
        return f"{self.environment}-{self.variant}-{self.arm.replace(':', '.')}-{self.seed}"


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
    def chain(self) -> Chain:
        """The chain that it is of."""
        return Chain(self.environment, self.variant, self.arm, self.seed)


def add(work: Work, line: Line) -> None:
    """Write a round down, for good."""
    work.add(STEP, str(line.chain), str(line.number), **asdict(line))


def read(work: Work) -> list[Line]:
    """All rounds, chain by chain, by number; one that was played twice counts as it was last."""
    lines = [Line(**{**held, "expense": Expense(**held["expense"])}) for held in work.of(STEP)]
    return sorted(lines, key=lambda line: (line.chain, line.number))


def played(work: Work) -> dict[Chain, list[Line]]:
    """The rounds of each chain, up to the first one that is missing."""
    found: dict[Chain, list[Line]] = {}
    for line in read(work):
        rounds = found.setdefault(line.chain, [])
        if line.number == len(rounds):
            rounds.append(line)
    return found
