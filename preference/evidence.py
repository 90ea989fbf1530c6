"""How much speaks for a preference: what each edit said for or against it, added up over time.

One number takes the place of rules for slips, changes of taste and endings: a slip is outvoted, a new taste wins within
a few edits, and what later edits speak against ends.
"""

import math
from collections.abc import Iterable
from typing import Literal

Standing = Literal["fixed", "held", "tentative", "doubtful"]
KEPT = 0.9
"""What is kept of earlier evidence at each later edit."""
LEAST, MOST = -1.0, 2.5
"""Bounds: two edits give up a habit of years, and two make one."""
TENTATIVE = 0.5
HELD = 1.5

ACCEPTED = 0.25
"""What a draft says that was left as it was, for a preference that it was written by."""
COUNTED = 1.0
"""What an edit says for a wish that was counted in it."""
ABSENT = -0.25
"""What a context says against a preference that did not show there."""
STRONGEST = 1.5
"""What one edit can say at most."""
HINT = 0.24
"""What words say that were no feedback, such as “shorter, please” in a conversation: it takes three, or an edit."""
FAVOUR = 0.25
"""The share by which signals raise or lower what edits said for a preference, at most."""


def total(weights: Iterable[float]) -> float:
    """The evidence of edits, the oldest first."""
    sum = 0.0
    for weight in weights:
        sum = max(LEAST, min(MOST, KEPT * sum + weight))
    return sum


def standing(evidence: float, edits: int) -> Standing:
    """How a learned preference stands, by the evidence and the number of edits that speak for it."""
    if evidence >= HELD and edits > 1:
        return "held"
    return "tentative" if evidence >= TENTATIVE else "doubtful"


def of_lift(z: float) -> float:
    """The weight of what one edit is made likelier by, or less likely, in spreads of the cohort or in nats."""
    return math.copysign(min(STRONGEST, 0.5 + 0.25 * max(0.0, abs(z) - 1)), z)
