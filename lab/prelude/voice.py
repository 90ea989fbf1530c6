"""What a simulated user says of answers to the request at hand, beside editing them: carelessly one time in five."""

from collections.abc import Callable

from lab.prelude.environment import CARELESS_SHARE, SyntheticEnvironment, other_value
from lab.prelude.ports import Round
from lab.style import trained_phrase


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

    def own(self) -> str:
        """What the user would have written without a draft."""
        return self._environment.own(self._at())
