"""One chain: an arm plays the rounds of an environment, each written down before the next begins."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.prelude.log import Line
from lab.prelude.ports import Arm, Environment, Round
from preference.distance import words

Write = Callable[[Line], Awaitable[None]]


@dataclass(frozen=True)
class Chain:
    """Which arm plays which environment, and how."""

    environment: str
    variant: str
    arm: str
    seed: int

    def __str__(self) -> str:
        """As in ``email plain cipher-5 seed 1``."""
        return f"{self.environment} {self.variant} {self.arm} seed {self.seed}"


class Table:
    """Where one chain is played: it alone knows the round at hand, and what the user wants of it."""

    def __init__(self, chain: Chain, environment: Environment) -> None:
        self.chain = chain
        self._environment = environment
        self._round: Round | None = None

    def truth(self) -> Sequence[str]:
        """What the user wants of the request at hand."""
        assert self._round is not None, "no round has begun"
        return self._environment.wants(self._round)

    def at(self) -> tuple[Environment, Round]:
        """The environment, and the round at hand."""
        assert self._round is not None, "no round has begun"
        return self._environment, self._round

    async def play(self, arm: Arm, played: Sequence[Line], write: Write, stopped: Callable[[], bool]) -> None:
        """Play the rounds that come after those ``played``, until the last one or until it is ``stopped``."""
        await arm.restore([line.lesson for line in played])
        if played:
            arm.expense = replace(played[-1].expense)
        for round in self._environment.rounds[len(played) :]:
            if stopped():
                return
            self._round = round
            await write(await self._play(arm, round))

    async def _play(self, arm: Arm, round: Round) -> Line:
        began = time.monotonic()
        draft = await arm.complete(round.text)
        answered = time.monotonic()
        edited = await self._environment.edit(round, draft.text)
        read = time.monotonic()
        lesson = dict(await arm.learn(round.text, draft, edited))
        learned = time.monotonic()
        adapter: dict[str, Any] | None = lesson.pop("adapter", None)
        cost = self._environment.cost(round, draft.text, edited)
        return Line(
            **vars(self.chain),
            rounds=len(self._environment.rounds),
            number=round.number,
            kind=round.kind,
            careless=round.careless,
            cost=cost,
            words=len(words(draft.text)),
            wants=self._environment.wants(round),
            preferences=draft.preferences,
            zero=cost == 0,
            answer_seconds=round_(answered - began),
            learn_seconds=round_(learned - read - (adapter or {}).get("seconds", 0.0)),
            expense=replace(arm.expense),
            lesson=lesson,
            adapter=adapter,
            broken=self._environment.broken(round, draft.text),
        )


def round_(seconds: float) -> float:
    """Seconds to the millisecond, none below zero."""
    return max(0.0, float(f"{seconds:.3f}"))
