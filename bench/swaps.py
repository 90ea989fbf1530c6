"""Users ask all at once while adapters come and go: requests a second, leaks, and how long others' tokens wait."""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from adapters.artifacts.directories import Directories
from bench.adapter_users import PROMPTS, AdapterUser, Tally
from bench.arms import Arm
from bench.client import Answer
from bench.load import Caller, Failures, Told, ask, before, gaps
from bench.servers import Server, call
from lab.child import ServerFailed

OTHERS = 4
"""Users whose tokens are watched while another one's adapter is loaded."""
OPERATORS = 8
"""Activations at a time: under load one takes as long as the answers that it waits for."""
_BETWEEN = 0.25
_LONG = 400  # tokens

Activate = Callable[[AdapterUser, int], Awaitable[Any]]


@dataclass(frozen=True)
class Swaps:
    """Users, the engine with their adapters, Attune before it, and what failed."""

    users: Sequence[AdapterUser]
    engine: Server
    attune: Server
    directories: Directories
    tokens: int
    failures: Failures

    def bare(self, user: AdapterUser) -> Arm:
        """Who asks the engine for the user's adapter by its name."""
        return Arm("engine", self.engine, prompts=PROMPTS, model=user.adapter(1))

    def personal(self, user: AdapterUser) -> Arm:
        """Who asks Attune as the user."""
        return Arm("attune", self.attune, user=user.name, prompts=PROMPTS)

    async def activate_all(self, told: Told) -> None:
        """Activate every user's first version: then all are in the engine."""
        async with self._operator() as activate:
            for user in self.users:
                await activate(user, 1)
                told()

    async def throughput(self, blocks: int, seconds: float, tally: Tally, told: Told) -> dict[str, Any]:
        """Requests a second, a client for each user, the engine itself and Attune in turn; medians and their ratio."""
        found: dict[str, list[float]] = {"engine": [], "attune": []}
        for block in range(-1, blocks):  # the first one warms up
            arms = [("engine", self.bare, 1), ("attune", self.personal, None)]
            for name, arm, version in arms if block % 2 else reversed(arms):
                deadline = time.monotonic() + (seconds if block >= 0 else seconds / 4)
                count, passed = await self._ask(arm, before(deadline), tally, version)
                if block >= 0:
                    found[name].append(count / passed)
                told()
        engine, attune = (statistics.median(found[name]) for name in ("engine", "attune"))
        if not engine:
            raise ServerFailed(f"The engine answered nothing: {self.failures.reasons.get('engine')}")
        return {"engine": engine, "attune": attune, "ratio": attune / engine, "blocks": found}

    async def swaps(self, least: int, tally: Tally, told: Told) -> dict[str, Any]:
        """At least so many activations, to and fro between two versions, while every user asks without a pause."""
        done: list[float] = []

        async def swap(activate: Activate, users: Sequence[AdapterUser]) -> None:
            while len(done) < least:
                for user in users:
                    for version in (2, 1):
                        started = time.monotonic()
                        await activate(user, version)
                        done.append(time.monotonic() - started)
                        told()

        async def swap_all() -> None:
            parts = [self.users[first::OPERATORS] for first in range(min(OPERATORS, len(self.users)))]
            async with self._operator() as activate:
                await asyncio.gather(*(swap(activate, part) for part in parts))

        swapping = asyncio.create_task(swap_all())
        count, _ = await self._ask(self.personal, lambda: not swapping.done(), tally)
        await swapping
        return {"swaps": len(done), "swap_ms": 1000 * statistics.median(done), "requests": count}

    async def crowded(self, clients: int, seconds: float, tally: Tally, seed: int = 0) -> dict[str, Any]:
        """Some clients ask as users drawn at random, early ones most, with fewer places than users."""
        draw = random.Random(seed)
        likely = [1 / (1 + user.number) for user in self.users]
        deadline, asked = time.monotonic() + seconds, 0

        async def client() -> None:
            nonlocal asked
            while time.monotonic() < deadline:
                (user,) = draw.choices(self.users, likely)
                caller = Caller(self.personal(user), self.failures, stream=False, tokens=self.tokens)
                if answer := await caller.ask():
                    asked += 1
                    tally.add(user, 0, answer)
                else:
                    await asyncio.sleep(_BETWEEN)
                caller.close()

        await asyncio.gather(*(client() for _ in range(clients)))
        return {"requests": asked, "by_adapter": sum(tally.answers[v] for v in (1, 2)) / max(1, tally.answers.total())}

    async def stalls(self, blocks: int, loads: int, told: Told) -> dict[str, Any]:
        """The longest gap between two tokens of others while an adapter is loaded; milliseconds, medians over loads.

        The engine's own: its load, the first token with it, and its unload. Attune's: an activation, to its end.
        """
        others, movers = self.users[:OTHERS], [user for user in self.users[OTHERS:] if 2 in user.said]
        found: dict[str, list[float]] = {"engine": [], "attune": []}
        usual: dict[str, list[float]] = {"engine": [], "attune": []}
        at = {user.number: 1 for user in movers}
        turn = 0
        async with self._operator() as activate, self.engine.session() as session:
            for block in range(blocks):
                for name in ("engine", "attune") if block % 2 else ("attune", "engine"):
                    arm = self.bare if name == "engine" else self.personal
                    async with self._streams([arm(user) for user in others]) as answers:
                        windows = []
                        for _ in range(loads):
                            mover = movers[turn % len(movers)]
                            await asyncio.sleep(_BETWEEN)
                            turn += 1
                            started = time.monotonic_ns()
                            if name == "engine":
                                await self._load_bare(session, f"cold-{turn}", mover)
                            else:
                                at[mover.number] = 3 - at[mover.number]
                                await activate(mover, at[mover.number])
                            windows.append((started, time.monotonic_ns()))
                            told()
                        await asyncio.sleep(_BETWEEN)
                    found[name] += longest_gaps(answers, windows)
                    usual[name] += [(after - before) / 1e6 for before, after in gaps(answers)]
            for user in movers:
                if at[user.number] != 1:
                    await activate(user, 1)
        medians, usually = ({name: statistics.median(values) for name, values in of.items()} for of in (found, usual))
        return {**medians, "ratio": medians["attune"] / medians["engine"], "usual": usually, "loads": found}

    @asynccontextmanager
    async def _operator(self) -> AsyncIterator[Activate]:
        """Activates versions. Raises ``ServerFailed``."""
        async with self.attune.session() as session:
            yield lambda user, version: call(session, "POST", f"/v1/users/{user.name}/adapters/{version}/activate")

    async def _load_bare(self, session: aiohttp.ClientSession, name: str, user: AdapterUser) -> None:
        """What an operator without Attune does to serve a new adapter, and to take it away."""
        path = str(self.directories.path(user.opaque_id, 1))
        first = {"model": name, "messages": PROMPTS[0], "max_tokens": 1, "temperature": 0}
        await call(session, "POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        await call(session, "POST", "/v1/chat/completions", first)
        await call(session, "POST", "/v1/unload_lora_adapter", {"lora_name": name})

    @asynccontextmanager
    async def _streams(self, arms: Sequence[Arm]) -> AsyncIterator[list[Answer]]:
        """Streams without a pause for as long as the block lasts; all that was streamed."""
        answers: list[Answer] = []
        over = asyncio.Event()
        callers = [Caller(arm, self.failures, stream=True, tokens=_LONG) for arm in arms]
        asking = asyncio.create_task(
            ask(callers, lambda: not over.is_set(), lambda _, answer: answers.append(answer), _BETWEEN)
        )
        try:
            yield answers
        finally:
            over.set()
            await asking

    async def _ask(
        self, arm: Callable[[AdapterUser], Arm], more: Callable[[], bool], tally: Tally, version: int | None = None
    ) -> tuple[int, float]:
        """Every user asks without a pause while there is ``more``; how many answers came, in how many seconds."""
        callers = {Caller(arm(user), self.failures, stream=False, tokens=self.tokens): user for user in self.users}
        heard: list[tuple[AdapterUser, int, Answer]] = []  # compared later
        seconds = await ask(
            list(callers),
            more,
            lambda caller, answer: heard.append((callers[caller], (caller.asked - 1) % len(PROMPTS), answer)),
        )
        for user, prompt, answer in heard:
            tally.add(user, prompt, answer, version)
        return len(heard), seconds


def longest_gaps(answers: Sequence[Answer], windows: Sequence[tuple[int, int]]) -> list[float]:
    """For each window (nanoseconds), the longest gap between two tokens that overlaps it, in milliseconds; 0: none."""
    between = gaps(answers)
    return [
        max((after - before for before, after in between if before < ended and after > began), default=0) / 1e6
        for began, ended in windows
    ]
