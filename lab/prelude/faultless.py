"""What a faultless learner pays in an environment: what an edit shows it knows at once, and nothing before."""

from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean

from lab.prelude import environment
from lab.prelude.figures import Played


def faultless(played: Sequence[Played]) -> float | None:
    """Words, mean over the seeds of chains of one environment and variant; None where the world is not synthetic.

    It is no lower bound: who carries over wishes from one kind to another may be lucky.
    """
    firsts = [chain[0] for chain in played]
    if not firsts or firsts[0].environment not in environment.KINDS:
        return None
    return round(fmean(_of_seed(r.environment, r.seed, r.rounds, r.variant) for r in firsts), 4)


@lru_cache(maxsize=256)  # tables and goals ask for the same
def _of_seed(name: str, seed: int, rounds: int, variant: str) -> int:
    return environment.make(name, seed=seed, rounds=rounds, variant=variant).faultless()
