"""All chains of a run, side by side; each goes on where its work file ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

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


class Run:
    """Plays ``chains`` of ``rounds`` rounds on the server at ``base``, ``concurrency`` at a time.

    ``id`` sets its users apart. ``keys`` are by tenant; without any, ``key`` is everybody's.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        work: Work,
        *,
        id: str,
        rounds: int,
        concurrency: int,
        base: str,
        keys: Mapping[str, str],
        environment: MakeEnvironment,
        vectors: Vectors,
        key: str = "none",
        asking: Asking | None = None,
    ) -> None:
        self._chains = chains
        self._work = work
        self._id = id
        self._rounds = rounds
        self._slots = asyncio.Semaphore(concurrency)
        self._base = base
        self._keys = keys
        self._key = key
        self._environment = environment
        self._vectors = vectors
        self._asking = asking or Asking()
        self._writing = asyncio.Lock()
        self.stopped = False
        self.failures: dict[Chain, str] = {}

    def stop(self) -> None:
        """Let each chain end with the round that it is at."""
        self.stopped = True

    async def play(self, bars: Progress) -> None:
        """Play what is left. A chain that fails is in ``failures``, and the others go on."""
        played = log.played(self._work)
        shown = {
            arm: bars.add_task(
                arm,
                total=self._rounds * sum(chain.arm == arm for chain in self._chains),
                completed=sum(len(played.get(chain, ())) for chain in self._chains if chain.arm == arm),
            )
            for arm in dict.fromkeys(chain.arm for chain in self._chains)
        }

        async def in_turn(chain: Chain) -> None:
            async with self._slots:
                try:
                    await self._play(chain, played.get(chain, []), lambda: bars.advance(shown[chain.arm]))
                except (APIError, TimeoutError, ValueError) as error:
                    self.failures[chain] = f"{type(error).__name__}: {error}"
                    bars.console.print(f"[red]{chain} failed:[/red] {self.failures[chain]}")

        async with asyncio.TaskGroup() as group:
            for chain in self._chains:
                if len(played.get(chain, ())) < self._rounds:
                    group.create_task(in_turn(chain))

    async def _play(self, chain: Chain, played: Sequence[Line], done: Callable[[], None]) -> None:
        own = chain.tenant if chain.learns_on_the_server and chain.tenant in self._keys else None
        key = self._keys.get(chain.tenant, self._key)
        async with Client(self._base, f"{self._id} {chain}", key=key, retries=RETRIES) as client:
            training = {max(1, round(share * self._rounds)) for share in TRAINING_SHARES}
            environment = await asyncio.to_thread(self._environment, chain)
            trial = Trial(environment, client, self._vectors, own, training)
            arm = ARMS[chain.arm](trial)
            arm.asking = self._asking
            await arm.restore([line.lesson for line in played])
            if played:
                arm.expense = replace(played[-1].expense)
            for asked in environment.rounds[len(played) :]:
                if self.stopped:
                    return
                line = await trial.turn(chain, arm, asked)
                async with self._writing:
                    await asyncio.to_thread(log.add, self._work, line)
                done()
