"""What was looked at, and how it is."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "error"]
CLOCKS = 5.0
"""Seconds that clocks may differ: leases of jobs last a minute, tokens of users some."""
PATIENCE = 10.0


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, in a sentence, and what to do where it is not well."""

    part: str
    state: State
    said: str
    advice: str = ""


def clock_finding(part: str, difference: float) -> Finding:
    """How far a clock is from this machine's, in seconds."""
    told = f"It is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} this machine's."
    if abs(difference) <= CLOCKS:
        return Finding(part, "ok", told)
    return Finding(part, "error", told, "Let NTP set the clocks: leases and tokens end by them.")
