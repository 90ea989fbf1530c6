"""What a run's figures are: what was found of what was expected, what else was learned, and where it came again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from lab.edits.cases import Case

RESAMPLES = 2000
CONSTANT_LIST = (
    "Be short, plain and direct.",
    "Use numbered lists with headings.",
    "Write formally and politely.",
    "Put the numbers first.",
)
"""What a learner could say of any edit without a look at it: it has to be beaten."""

WHOLE = {
    "found": "expected",
    "right": "learned",
    "nothing_learned": "nothing_expected",
    "same_recalled": "same",
    "other_recalled": "other",
}
"""Which count each count is a part of."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case. ``texts`` are what was learned; a recall is None where it was not asked for."""

    case: Case
    texts: tuple[str, ...]
    failed: bool = False
    same_recalled: bool | None = None
    other_recalled: bool | None = None
    seconds: float | None = None
    tokens: tuple[int, int] | None = None

    @property
    def met(self) -> list[set[int]]:
        """For each text, the expectations that it matches."""
        return [self.case.met(text) for text in self.texts]

    @property
    def found(self) -> int:
        """How many expectations some text matches."""
        return len(set[int]().union(*self.met))

    @property
    def right(self) -> int:
        """How many texts match an expectation."""
        return sum(map(bool, self.met))

    def counts(self) -> dict[str, int]:
        """What the case adds to the figures."""
        teaches = self.case.teaches
        return {
            "expected": len(self.case.expect),
            "found": self.found,
            "learned": len(self.texts),
            "right": self.right,
            "nothing_expected": int(not teaches),
            "nothing_learned": int(not teaches and not self.texts and not self.failed),
            "same": int(self.same_recalled is not None),
            "same_recalled": int(self.same_recalled or False),
            "other": int(self.other_recalled is not None),
            "other_recalled": int(self.other_recalled or False),
            "failed": int(self.failed),
        }


def outcome(case: Case, lesson: Mapping[str, Any], asked: Mapping[str, Any]) -> Outcome:
    """What the records of a case say.

    What came later counts by its id, or by that of its successor, or by its text.
    """
    learned, successors = lesson["learned"], asked["successors"]
    texts = {told["text"] for told in learned}
    ids = {successors.get(told["id"], told["id"]) for told in learned}

    def came(request: str) -> list[str] | None:
        if asked[request] is None:
            return None
        return [held["text"] for held in asked[request] if held["id"] in ids or held["text"] in texts]

    same, other = came("same"), came("other")
    tokens = lesson.get("tokens")
    right = any(case.met(text) for text in texts)
    return Outcome(
        case,
        tuple(told["text"] for told in learned),
        failed=lesson["status"] not in ("learned", "nothing_learned"),
        seconds=lesson.get("seconds"),
        tokens=None if tokens is None else (tokens[0], tokens[1]),
        other_recalled=None if other is None else bool(other),
        # Where nothing right was learned there is nothing that a request of the same kind could get.
        same_recalled=any(case.met(text) for text in same) if right and same is not None else None,
    )


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of a mode, of a case at least, with 95% intervals of the shares, by the bootstrap over cases."""
    rows = [made.counts() for made in outcomes]
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    seconds = [made.seconds for made in outcomes if made.seconds is not None]
    tokens = [made.tokens for made in outcomes if made.tokens is not None]
    nothing = [made for made in outcomes if not made.case.teaches]
    return {
        **total,
        "shares": {part: _ratio(total[part], total[whole]) for part, whole in WHOLE.items()},
        "intervals": {part: _interval(rows, part, whole) for part, whole in WHOLE.items()},
        "false_learning": _ratio(sum(bool(made.texts) for made in nothing), len(nothing)),
        "matches_elsewhere": matches_elsewhere(outcomes),
        "seconds_per_edit": round(fmean(seconds), 2) if seconds else None,
        "learner_tokens_per_edit": {
            name: round(fmean(pair[at] for pair in tokens), 1) if tokens else None
            for at, name in enumerate(("prompt", "completion"))
        },
    }


def matches_elsewhere(outcomes: Sequence[Outcome]) -> float | None:
    """How often a learned text matches an expectation of another case: the mean over all pairs of these.

    It is what random pairing gives in the long run; of a learner that says the same of every edit, it is its precision.
    """
    teaching = [made.case for made in outcomes if made.case.teaches]
    pairs = [
        bool(case.met(text)) for made in outcomes for text in made.texts for case in teaching if case is not made.case
    ]
    return round(fmean(pairs), 4) if pairs else None


def as_if_learned(cases: Sequence[Case], texts: Callable[[Case], Sequence[str]]) -> dict[str, Any]:
    """The figures of who learns ``texts`` from each case, as far as they need no server."""
    figures = summary([Outcome(case, tuple(texts(case))) for case in cases])
    kept = ("expected", "found", "learned", "right", "false_learning", "matches_elsewhere")
    return {
        **{name: figures[name] for name in kept},
        "shares": {name: figures["shares"][name] for name in ("found", "right")},
        "intervals": {name: figures["intervals"][name] for name in ("found", "right")},
    }


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _interval(rows: Sequence[Mapping[str, int]], part: str, whole: str) -> list[float] | None:
    """The 95% interval of a sum's share of another one, by percentiles over resampled cases; None without any."""
    pairs = np.array([(row[part], row[whole]) for row in rows if row[whole]], dtype=float)
    if not len(pairs):
        return None
    picks = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    sums = pairs[picks].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], (0.025, 0.975))
    return [round(float(low), 4), round(float(high), 4)]
