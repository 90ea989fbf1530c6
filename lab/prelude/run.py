"""All chains of a run, side by side; each goes on where its work file ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from openai import APIError
from rich.progress import Progress

from lab.client import Client
from lab.prelude import log
from lab.prelude.asking import Asking
from lab.prelude.catalog import ARMS
from lab.prelude.log import Chain, Line
from lab.prelude.memory import Vectors
from lab.prelude.ports import Environment
from lab.prelude.trial import Trial
from lab.work import Work

MakeEnvironment = Callable[[Chain], Environment]
RETRIES = 8
"""How often a request is sent again to a busy server, within about half a minute."""
TRAINING_SHARES = (0.3, 0.6)
"""After which parts of its rounds an arm has an adapter trained."""


@dataclass
class Run:
    """Plays ``chains`` of ``rounds`` rounds on the server at ``base``, ``concurrency`` at a time.

    ``id`` sets its users apart. ``keys`` are by tenant; without any, ``key`` is everybody's.
    """

    chains: Sequence[Chain]
    work: Work
    id: str
    rounds: int
    concurrency: int
    base: str
    keys: Mapping[str, str]
    environment: MakeEnvironment
    vectors: Vectors
    key: str = "none"
    asking: Asking = field(default_factory=Asking)
    stopped: bool = False
    failures: dict[Chain, str] = field(default_factory=dict)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def stop(self) -> None:
        """Let each chain end with the round that it is at."""
        self.stopped = True

    async def play(self, bars: Progress) -> None:
        """Play what is left. A chain that fails is in ``failures``, and the others go on."""
        played, slots = log.played(self.work), asyncio.Semaphore(self.concurrency)
        shown = {
            arm: bars.add_task(
                arm,
                total=self.rounds * sum(chain.arm == arm for chain in self.chains),
                completed=sum(len(played.get(chain, ())) for chain in self.chains if chain.arm == arm),
            )
            for arm in dict.fromkeys(chain.arm for chain in self.chains)
        }

        async def in_turn(chain: Chain) -> None:
            async with slots:
                try:
                    await self._play(chain, played.get(chain, []), lambda: bars.advance(shown[chain.arm]))
                except (APIError, TimeoutError, ValueError) as error:
                    self.failures[chain] = f"{type(error).__name__}: {error}"
                    bars.console.print(f"{chain} failed: {self.failures[chain]}", style="red", markup=False)

        async with asyncio.TaskGroup() as group:
            for chain in self.chains:
                if len(played.get(chain, ())) < self.rounds:
                    group.create_task(in_turn(chain))

    async def _play(self, chain: Chain, played: Sequence[Line], done: Callable[[], None]) -> None:
        own = chain.tenant if chain.learns_on_the_server and chain.tenant in self.keys else None
        key = self.keys.get(chain.tenant, self.key)
        async with Client(self.base, f"{self.id} {chain}", key=key, retries=RETRIES) as client:
            training = {max(1, round(share * self.rounds)) for share in TRAINING_SHARES}
            environment = await asyncio.to_thread(self.environment, chain)
            trial = Trial(environment, client, self.vectors, own, training)
            arm = ARMS[chain.arm](trial)
            arm.asking = self.asking
            await arm.restore([line.lesson for line in played])
            if played:
                arm.expense = replace(played[-1].expense)
            for asked in environment.rounds[len(played) :]:
                if self.stopped:
                    return
                line = await trial.turn(chain, arm, asked)
                async with self._writing:
                    await asyncio.to_thread(log.add, self.work, line)
                done()
