"""Guests ask all at once while adapters come and go: requests a second, leaks, and how long others' tokens wait."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp

from adapters.directories import Directories
from bench.arms import Arm, Refused
from bench.client import Answer
from bench.guests import PROMPTS, Guest, prompts
from bench.measure import Caller, Failures
from bench.servers import Server

OTHERS = 4
"""Guests whose tokens are watched while another one's adapter is loaded."""
OPERATORS = 8
"""Activations at a time: under load one takes as long as the answers that it waits for."""
_BETWEEN = 0.25
_LONG = 400  # tokens

Activate = Callable[[Guest, int], Awaitable[None]]


@dataclass
class Tally:
    """Answers by version, and those that are not what their version says alone, with the first of them."""

    answers: Counter[int] = field(default_factory=Counter)
    leaks: int = 0
    first: str = ""

    def add(self, guest: Guest, prompt: int, answer: Answer, version: int | None = None) -> None:
        """Compare an answer with what its version, or ``version`` if it does not tell, said alone."""
        body = answer.json()
        told = body["attune"]["adapter_version"] if version is None else version
        text = body["choices"][0]["message"]["content"]
        self.answers[told] += 1
        if text != guest.said[told][prompt]:
            self.leaks += 1
            whose = [f"guest {guest.number} v{v}" for v, said in guest.said.items() if text in said]
            self.first = self.first or f"guest {guest.number} v{told}, prompt {prompt}: {text[:200]!r} {whose}"


@dataclass(frozen=True)
class Asked:
    """What guests were answered in how many seconds, with the number of the prompt."""

    seconds: float
    answers: list[tuple[Guest, int, Answer]]


@dataclass(frozen=True)
class Party:
    """Guests, the engine with their adapters, Attune before it, and what failed."""

    guests: Sequence[Guest]
    engine: Server
    attune: Server
    directories: Directories
    tokens: int
    failures: Failures

    def bare(self, guest: Guest) -> Arm:
        """Who asks the engine for the guest's adapter by its name."""
        return Arm("engine", self.engine, messages=tuple(prompts()), model=guest.name(1))

    def personal(self, guest: Guest) -> Arm:
        """Who asks Attune as the guest."""
        return Arm("attune", self.attune, user=guest.user, messages=tuple(prompts()))

    async def seat(self, told: Callable[[], None]) -> None:
        """Activate every guest's first version: then all are in the engine."""
        async with self._operator() as call:
            for guest in self.guests:
                await call(guest, 1)
                told()

    async def throughput(self, blocks: int, seconds: float, tally: Tally, told: Callable[[], None]) -> dict[str, Any]:
        """Requests a second, a client for each guest, the engine itself and Attune in turn; medians and their ratio."""
        found: dict[str, list[float]] = {"engine": [], "attune": []}
        for block in range(-1, blocks):  # the first one warms up
            arms = [("engine", self.bare, 1), ("attune", self.personal, None)]
            for name, arm, version in arms if block % 2 else reversed(arms):
                deadline = time.monotonic() + (seconds if block >= 0 else seconds / 4)
                asked = await self._ask([arm(guest) for guest in self.guests], _before(deadline))
                for guest, prompt, answer in asked.answers:
                    tally.add(guest, prompt, answer, version)
                if block >= 0:
                    found[name].append(len(asked.answers) / asked.seconds)
                told()
        engine, attune = (statistics.median(found[name]) for name in ("engine", "attune"))
        if not engine:
            raise Refused(f"The engine answered nothing: {self.failures.reasons.get('engine')}")
        return {"engine": engine, "attune": attune, "ratio": attune / engine, "blocks": found}

    async def swaps(self, least: int, tally: Tally, told: Callable[[], None]) -> dict[str, Any]:
        """At least so many activations, to and fro between two versions, while every guest asks without a pause."""
        done: list[float] = []

        async def swap(call: Activate, guests: Sequence[Guest]) -> None:
            while len(done) < least:
                for guest in guests:
                    for version in (2, 1):
                        started = time.monotonic()
                        await call(guest, version)
                        done.append(time.monotonic() - started)
                        told()

        async def swap_all() -> None:
            parts = [self.guests[first::OPERATORS] for first in range(min(OPERATORS, len(self.guests)))]
            async with self._operator() as call:
                await asyncio.gather(*(swap(call, part) for part in parts))

        swapping = asyncio.create_task(swap_all())
        asked = await self._ask([self.personal(guest) for guest in self.guests], lambda: not swapping.done())
        await swapping
        for guest, prompt, answer in asked.answers:
            tally.add(guest, prompt, answer)
        return {"swaps": len(done), "swap_ms": 1000 * statistics.median(done), "requests": len(asked.answers)}

    async def crowded(self, clients: int, seconds: float, tally: Tally, seed: int = 0) -> dict[str, Any]:
        """Some clients ask as guests drawn at random, early ones most, with fewer places than guests."""
        draw = random.Random(seed)
        likely = [1 / (1 + guest.number) for guest in self.guests]
        deadline, asked = time.monotonic() + seconds, 0

        async def client() -> None:
            nonlocal asked
            while time.monotonic() < deadline:
                (guest,) = draw.choices(self.guests, likely)
                caller = Caller(self.personal(guest), self.failures, stream=False, tokens=self.tokens)
                if answer := await caller.ask():
                    asked += 1
                    tally.add(guest, 0, answer)
                else:
                    await asyncio.sleep(_BETWEEN)
                caller.close()

        await asyncio.gather(*(client() for _ in range(clients)))
        return {"requests": asked, "by_adapter": sum(tally.answers[v] for v in (1, 2)) / max(1, tally.answers.total())}

    async def stalls(self, blocks: int, loads: int, told: Callable[[], None]) -> dict[str, Any]:
        """The longest gap between two tokens of others while an adapter is loaded; milliseconds, medians over loads.

        The engine's own: its load, the first token with it, and its unload. Attune's: an activation, to its end.
        """
        others, movers = self.guests[:OTHERS], [guest for guest in self.guests[OTHERS:] if 2 in guest.said]
        found: dict[str, list[float]] = {"engine": [], "attune": []}
        usual: dict[str, list[float]] = {"engine": [], "attune": []}
        at = {guest.number: 1 for guest in movers}
        turn = 0
        async with self._operator() as call, aiohttp.ClientSession(self.engine.url) as session:
            for block in range(blocks):
                for name in ("engine", "attune") if block % 2 else ("attune", "engine"):
                    arms = [self.bare(guest) if name == "engine" else self.personal(guest) for guest in others]
                    async with self._streams(arms) as answers:
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
                                await call(mover, at[mover.number])
                            windows.append((started, time.monotonic_ns()))
                            told()
                        await asyncio.sleep(_BETWEEN)
                    found[name] += longest_gaps(answers, windows)
                    usual[name] += [(after - before) / 1e6 for before, after in _gaps(answers)]
            for guest in movers:
                if at[guest.number] != 1:
                    await call(guest, 1)
        medians = {name: statistics.median(values) for name, values in found.items()}
        return {
            **medians,
            "ratio": medians["attune"] / medians["engine"],
            "usual": {name: statistics.median(values) for name, values in usual.items()},
            "loads": found,
        }

    @asynccontextmanager
    async def _operator(self) -> AsyncIterator[Activate]:
        """Activates versions. Raises ``Refused``."""
        headers = {"Authorization": f"Bearer {self.attune.key}"}
        async with aiohttp.ClientSession(self.attune.url, headers=headers) as session:

            async def activate(guest: Guest, version: int) -> None:
                async with session.post(f"/v1/users/{guest.user}/adapters/{version}/activate") as response:
                    if response.status != 200:
                        raise Refused(f"An activation answered {response.status}: {await response.text()}")

            yield activate

    async def _load_bare(self, session: aiohttp.ClientSession, name: str, guest: Guest) -> None:
        """What an operator without Attune does to serve a new adapter, and to take it away."""
        path = str(self.directories.path(guest.opaque_id, 1))
        first = {"model": name, "messages": prompts()[0], "max_tokens": 1, "temperature": 0}
        for route, body in (
            ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path}),
            ("/v1/chat/completions", first),
            ("/v1/unload_lora_adapter", {"lora_name": name}),
        ):
            async with session.post(route, json=body) as response:
                if response.status != 200:
                    raise Refused(f"{route} answered {response.status}: {await response.text()}")

    @asynccontextmanager
    async def _streams(self, arms: Sequence[Arm]) -> AsyncIterator[list[Answer]]:
        """Streams without a pause for as long as the block lasts; all that was streamed."""
        answers: list[Answer] = []
        going = True

        async def stream(arm: Arm) -> None:
            caller = Caller(arm, self.failures, stream=True, tokens=_LONG)
            while going:
                if answer := await caller.ask():
                    answers.append(answer)
                else:
                    await asyncio.sleep(_BETWEEN)
            caller.close()

        tasks = [asyncio.create_task(stream(arm)) for arm in arms]
        try:
            yield answers
        finally:
            going = False
            await asyncio.gather(*tasks)

    async def _ask(self, arms: Sequence[Arm], more: Callable[[], bool]) -> Asked:
        """Every arm's client asks without a pause while there is ``more``."""
        callers = [Caller(arm, self.failures, stream=False, tokens=self.tokens) for arm in arms]
        answers: list[tuple[Guest, int, Answer]] = []

        async def client(guest: Guest, caller: Caller) -> None:
            prompt = 0
            while more():
                answer = await caller.ask()
                if answer is None:
                    await asyncio.sleep(0.01)  # a server that refuses at once must not be hammered
                else:
                    answers.append((guest, prompt, answer))
                prompt = (prompt + 1) % PROMPTS

        started = time.monotonic()
        await asyncio.gather(*map(client, self.guests, callers))
        seconds = time.monotonic() - started
        for caller in callers:
            caller.close()
        return Asked(seconds, answers)


def longest_gaps(answers: Sequence[Answer], windows: Sequence[tuple[int, int]]) -> list[float]:
    """For each window (nanoseconds), the longest gap between two tokens that overlaps it, in milliseconds; 0: none."""
    gaps = list(_gaps(answers))
    return [
        max((after - before for before, after in gaps if before < ended and after > began), default=0) / 1e6
        for began, ended in windows
    ]


def _before(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < deadline


def _gaps(answers: Sequence[Answer]) -> Iterator[tuple[int, int]]:
    """Between each two tokens of an answer, in nanoseconds of the monotonic clock."""
    for answer in answers:
        for (before, _), (after, _) in pairwise(answer.tokens()):
            yield before, after
