"""What a simulated user says of answers to the request at hand, beside editing them: carelessly one time in five."""

import random
from collections.abc import Callable

from lab.prelude.environment import CARELESS_SHARE, SyntheticEnvironment, other_value
from lab.prelude.ports import Round
from lab.style import trained_phrase

DISAGREEMENT = 0.6
"""The share of pairs that people rate otherwise than they rank them (arXiv 2308.15812)."""
BEST = 7
"""Of the scale that ratings are on, which begins with 1."""


class SimulatedVoice:
    """``at`` gives the round at hand. Equal drafts are judged equally."""

    def __init__(self, environment: SyntheticEnvironment, at: Callable[[], Round]) -> None:
        self._environment = environment
        self._at = at

    def comment(self, draft: str) -> str | None:
        """What is wrong, in the user's words; None where nothing is. A careless one says a part, or something else."""
        round = self._at()
        rng = self._environment.stream(f"comment {round.number}")
        wrong = list(self._environment.wrong(round, draft).items())
        if wrong and rng.random() < CARELESS_SHARE:
            wrong = wrong[:1] if rng.random() < 0.5 else [other_value(*rng.choice(wrong), rng)]
        return " ".join(trained_phrase(attribute, value, rng) for attribute, value in wrong) or None

    def misleading(self) -> str | None:
        """A wish that the user has not, one time in five."""
        round = self._at()
        rng = self._environment.stream(f"misleading {round.number}")
        if rng.random() >= CARELESS_SHARE:
            return None
        attribute, value = rng.choice(sorted(self._environment.wrong(round, "").items()))
        return trained_phrase(*other_value(attribute, value, rng), rng)

    def thumb(self, draft: str) -> bool:
        """Up where at most one thing is wrong."""
        round = self._at()
        up = len(self._environment.wrong(round, draft)) <= 1
        return up != (self._environment.stream(f"thumb {round.number}").random() < CARELESS_SHARE)

    def rating(self, draft: str) -> int:
        """Less for each thing that is wrong; in ``DISAGREEMENT`` of the cases by some other standard."""
        round = self._at()
        rng = self._environment.stream(f"rating {round.number} {draft}")
        if rng.random() < DISAGREEMENT:
            return rng.randint(1, BEST)
        return max(1, BEST - len(self._environment.wrong(round, draft)))

    def prefers(self, one: str, other: str) -> bool:
        """Whether ``one`` is better: the one that costs fewer words."""
        round = self._at()
        better = self._environment.cost(round, one, one) <= self._environment.cost(round, other, other)
        return better != (self._environment.stream(f"ranking {round.number}").random() < CARELESS_SHARE)

    def signal(self, draft: str) -> str:
        """What the user does with it."""
        return "sent" if self.thumb(draft) else "discarded"

    def outcome(self, draft: str) -> float:
        """Better the less is wrong, and the shorter it is, which the user does not care about."""
        round = self._at()
        noise = random.Random(f"{self._environment.name} {round.number}").gauss(0, 0.5)
        return BEST - len(self._environment.wrong(round, draft)) - len(draft) / 200 + noise

    def own(self) -> str:
        """What the user would have written without a draft."""
        return self._environment.own(self._at())
