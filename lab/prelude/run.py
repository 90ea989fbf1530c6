"""All chains of a run, side by side; each goes on where its log ends."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from openai import APIError

from lab.client import Client
from lab.prelude import log
from lab.prelude.access import RETRIES, Access
from lab.prelude.asking import Asking
from lab.prelude.board import Board
from lab.prelude.log import Line
from lab.prelude.memory import Vectors
from lab.prelude.meter import Meter
from lab.prelude.play import Chain, Table
from lab.prelude.ports import Environment
from lab.prelude.roster import ARMS, DEFAULT_ARMS, HARD_ARMS, Means, learns_on_the_server

MakeEnvironment = Callable[[Chain], Environment]
TRAINING_SHARES = (0.3, 0.6)
"""After which parts of its rounds an arm has an adapter trained."""


def plan(
    environments: Sequence[str], variants: Sequence[str], arms: Sequence[str] | None, seeds: int
) -> tuple[Chain, ...]:
    """The chains of a run, the slow ones first. Without named arms all play, and ``HARD_ARMS`` the harder variants."""
    chains = [
        Chain(environment, variant, arm, seed)
        for environment in environments
        for variant in variants
        for arm in arms or HARD_ARMS.get(variant, DEFAULT_ARMS)
        for seed in range(1, seeds + 1)
    ]
    return tuple(sorted(chains, key=lambda chain: (not learns_on_the_server(chain.arm), chain.seed)))


class Run:
    """Plays ``chains`` of ``rounds`` rounds on a server, ``concurrency`` at a time. ``id`` sets its users apart."""

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        id: str,
        rounds: int,
        concurrency: int,
        access: Access,
        environment: MakeEnvironment,
        vectors: Vectors,
        path: Path,
        asking: Asking | None = None,
    ) -> None:
        self._chains = chains
        self._id = id
        self._rounds = rounds
        self._slots = asyncio.Semaphore(concurrency)
        self._access = access
        self._environment = environment
        self._vectors = vectors
        self._path = path
        self._asking = asking or Asking()
        self._writing = asyncio.Lock()
        self.stopped = False
        self.failures: dict[Chain, str] = {}

    def stop(self) -> None:
        """Let each chain end with the round that it is at."""
        self.stopped = True

    async def play(self, board: Board) -> None:
        """Play what is left. A chain that fails is in ``failures``, and the others go on."""
        played = self.played()
        async with asyncio.TaskGroup() as group:
            for chain in self._chains:
                if len(played[chain]) < self._rounds:
                    group.create_task(self._in_turn(chain, played[chain], board))

    def played(self) -> dict[Chain, list[Line]]:
        """The rounds of each chain that the log holds."""
        return played(self._path, self._chains)

    async def _in_turn(self, chain: Chain, played: Sequence[Line], board: Board) -> None:
        async with self._slots:
            if self.stopped:
                return
            try:
                await self._play(chain, played, board)
            except (APIError, TimeoutError, ValueError) as error:
                self.failures[chain] = f"{type(error).__name__}: {error}"
                board.say(f"[red]{chain} failed:[/red] {self.failures[chain]}")

    async def _play(self, chain: Chain, played: Sequence[Line], board: Board) -> None:
        client = Client(self._access.base, f"{self._id} {chain}", key=self._access.key_of(chain), retries=RETRIES)
        try:
            await client.connect()
            meter = Meter(client, self._access.own_tenant(chain))
            await meter.start()
            table = Table(chain, await asyncio.to_thread(self._environment, chain))
            training = {max(1, round(share * self._rounds)) for share in TRAINING_SHARES}
            arm = ARMS[chain.arm](Means(client, self._vectors, meter, training, table.truth, table.at))
            arm.asking = self._asking

            async def write(line: Line) -> None:
                async with self._writing:
                    await asyncio.to_thread(log.append, self._path, line)
                board.advance(chain)

            await table.play(arm, played, write, lambda: self.stopped)
        finally:
            await client.close()


def played(path: Path, chains: Sequence[Chain]) -> dict[Chain, list[Line]]:
    """The rounds of each chain that a log holds, up to the first one that is missing."""
    found: dict[tuple[str, str, str, int], list[Line]] = defaultdict(list)
    for line in log.read(path):
        if line.number == len(found[line.chain]):
            found[line.chain].append(line)
    return {chain: found[chain.environment, chain.variant, chain.arm, chain.seed] for chain in chains}
