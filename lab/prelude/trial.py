"""One chain as it is played: an arm answers an environment's requests, is edited, and learns from that."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.client import Client
from lab.prelude.environment import SyntheticEnvironment
from lab.prelude.log import Chain, Line
from lab.prelude.memory import Vectors
from lab.prelude.ports import Arm, Environment, Round
from lab.prelude.voice import SimulatedVoice
from preference.distance import words


@dataclass
class Trial:
    """What an arm may be made of; it alone knows the round at hand, and what the user wants of it.

    ``tenant`` is set if it is the user's alone; ``training`` are rounds, counted from 1, after which adapters are made.
    """

    environment: Environment
    client: Client
    vectors: Vectors
    tenant: str | None = None
    training: Collection[int] = ()
    round: Round | None = None

    def at(self) -> Round:
        """The round at hand."""
        assert self.round is not None, "no round has begun"
        return self.round

    def truth(self) -> Sequence[str]:
        """What the user wants of the request at hand: the oracle's alone."""
        return self.environment.wants(self.at())

    def past(self, samples: int) -> Sequence[tuple[str, str, str]]:
        """What the user brings along from before the first round."""
        return self.environment.past(samples)

    @property
    def voice(self) -> SimulatedVoice:
        """What the user says beside their edits. Raises ``ValueError`` where they edit alone."""
        if not isinstance(self.environment, SyntheticEnvironment):
            raise ValueError("Users of documents edit, and say nothing else.")
        return SimulatedVoice(self.environment, self.at)

    async def turn(self, chain: Chain, arm: Arm, round: Round) -> Line:
        """Play a round."""
        self.round = round
        began = time.monotonic()
        draft = await arm.complete(round.text)
        answered = time.monotonic()
        edited = await self.environment.edit(round, draft.text)
        read = time.monotonic()
        lesson = dict(await arm.learn(round.text, draft, edited))
        learned = time.monotonic()
        adapter: dict[str, Any] | None = lesson.pop("adapter", None)
        cost = self.environment.cost(round, draft.text, edited)
        return Line(
            **vars(chain),
            rounds=len(self.environment.rounds),
            number=round.number,
            kind=round.kind,
            careless=round.careless,
            cost=cost,
            words=len(words(draft.text)),
            wants=self.environment.wants(round),
            preferences=draft.preferences,
            zero=cost == 0,
            answer_seconds=_milliseconds(answered - began),
            learn_seconds=_milliseconds(learned - read - (adapter or {}).get("seconds", 0.0)),
            expense=replace(arm.expense),
            lesson=lesson,
            adapter=adapter,
            broken=self.environment.broken(round, draft.text),
        )


def _milliseconds(seconds: float) -> float:
    """Seconds to the millisecond, none below zero."""
    return max(0.0, float(f"{seconds:.3f}"))
