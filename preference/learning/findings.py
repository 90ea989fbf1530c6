"""What one edit teaches, as the study gives it and the learner stores it."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from preference import evidence as scale

Verdict = Literal["learned", "confirmed", "contradicted", "refused"]


@dataclass(frozen=True)
class Candidate:
    """Something that the edit might show: what became of it and why; its ``lift`` in nats where it was judged."""

    text: str
    verdict: Verdict
    reason: str
    lift: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As a row keeps it and the API shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """A text to learn, with the weight of the evidence for it."""

    text: str
    weight: float


@dataclass(frozen=True)
class Findings:
    """``new`` are texts to learn, ``evidence`` what the edit says of preferences by id, ``reason`` why nothing else."""

    new: list[Finding] = field(default_factory=list)
    evidence: dict[str, float] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    reason: str | None = None

    def weighed(self, share: float) -> "Findings":
        """The same, said with a share of its weight."""
        new = [replace(finding, weight=_part(finding.weight, share)) for finding in self.new]
        return replace(self, new=new, evidence={id: share * weight for id, weight in self.evidence.items()})


def _part(weight: float, share: float) -> float:
    """A share of a weight; what is left of one that was tentative is a hint."""
    part = share * weight
    return min(part, scale.HINT) if part < scale.TENTATIVE and share < 1 else part
