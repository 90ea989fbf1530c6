"""What the gate's verdict is made of: figures by arm, as they are stored and shown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from adapters.evaluation.instruction_following import Judged

BASE, RETRIEVAL, INCUMBENT = "base", "retrieval", "serving"
ALONE, BESIDE = CANDIDATES = "adapter", "retrieval+adapter"


Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ValuesCheck:
    """The edits whose requests stated values, by themselves; ``skipped`` says why there is no difference."""

    edits: int
    difference: float | None = None
    passed: bool | None = None
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """An arm's means over the edits; None where none was measured."""

    cost: float | None = None
    nll: float | None = None
    lead: float | None = None
    prompt_tokens: float | None = None
    same_as: str = ""


@dataclass(frozen=True, kw_only=True)
class Compared(Figures):
    """With its differences to serving, each with its interval."""

    difference: float
    interval: Interval
    nll_difference: float
    nll_interval: Interval
    lead_difference: float
    lead_interval: Interval
    token_share: float


@dataclass(frozen=True, kw_only=True)
class Candidate(Compared):
    """With what it can be admitted for; ``until_proven`` is told of the one beside retrieval alone."""

    better: bool
    costs_less: bool
    likelier: bool
    contradicted: bool
    as_good: bool
    as_good_with_fewer_tokens: bool
    unseen: float
    proven: bool
    less_likely: bool
    values_check: ValuesCheck
    admissible: bool
    until_proven: bool | None = None

    @property
    def keeps_values(self) -> bool:
        """Whether it obeys stated values, as far as that can be told."""
        return self.values_check.passed is not False


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """The verdict, in the words and the order in which it is stored and shown. ``mode`` is the best admitted arm's."""

    edits: int
    arms: Mapping[str, Figures]
    edits_needed: int | None = None
    verdict: Literal["admitted", "refused"] = "refused"
    mode: str = ""
    sentence: str
    obedience: Mapping[str, Judged] | None = None
    gate_seconds: float | None = None

    @property
    def admitted(self) -> bool:
        """Whether the candidate is."""
        return self.verdict == "admitted"

    def as_json(self) -> dict[str, Any]:
        """What is stored: without what is not there."""
        return asdict(self, dict_factory=lambda members: {k: v for k, v in members if v is not None and v != ""})
