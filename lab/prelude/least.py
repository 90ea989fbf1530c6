"""What no learner is spared in an environment: the cost of one that knows at once whatever edits show."""

from collections.abc import Sequence
from statistics import fmean

from lab.prelude import environment
from lab.prelude.figures import Chain


def least(played: Sequence[Chain]) -> float | None:
    """Words, mean over the seeds of chains of one environment and variant; None where the world is not synthetic."""
    firsts = [chain[0] for chain in played]
    if not firsts or firsts[0].environment not in environment.KINDS:
        return None
    worlds = (environment.make(r.environment, seed=r.seed, rounds=r.rounds, variant=r.variant) for r in firsts)
    return round(fmean(world.least() for world in worlds), 4)
