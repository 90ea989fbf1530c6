"""Clients that ask arms: one load generator, and measurements in blocks, so that what else happens meets all alike."""

import asyncio
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from bench.arms import Arm
from bench.client import Answer, Broken, Connection
from bench.machine import cpu_seconds

_STAMP = re.compile(r"\d{20} ")
"""A token of the mock engine; a model may write numbers, too."""

Figures = dict[str, float]
Told = Callable[[], None]
"""Called after each block."""


@dataclass(frozen=True)
class OneClient:
    """One client that asks ``requests`` times a block. Times of the first ``warm`` requests of a block do not count."""

    tokens: int
    blocks: int
    requests: int
    warm: int = 3

    def quick(self) -> "OneClient":
        """A rough one: a third of the blocks, and half of the requests."""
        return replace(self, blocks=math.ceil(self.blocks / 3), requests=max(8, self.requests // 2))


@dataclass(frozen=True)
class ManyClients:
    """So many ``clients`` at a time, one number after the other, that ask without a pause for ``seconds`` a block."""

    tokens: int
    blocks: int
    clients: tuple[int, ...]
    seconds: float

    def quick(self) -> "ManyClients":
        """A rough one: a third of the blocks, half of the time, of many numbers of clients every other one."""
        some = self.clients[::2] if len(self.clients) > 3 else self.clients
        return replace(self, blocks=math.ceil(self.blocks / 3), clients=some, seconds=max(1, self.seconds / 2))


@dataclass
class Failures:
    """Requests that got no whole answer, by arm, with the reason of the first."""

    count: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, arm: Arm, reason: str) -> None:
        """One more."""
        self.count[arm.name] += 1
        self.reasons.setdefault(arm.name, reason[:300])


class Caller:
    """One client of an arm: a connection, opened again when the server has closed it, and the arm's requests."""

    def __init__(self, arm: Arm, failures: Failures, *, stream: bool, tokens: int) -> None:
        self.arm = arm
        self.asked = 0
        self._failures = failures
        self._stream = stream
        self._requests = arm.requests(stream=stream, tokens=tokens)
        self._connection: Connection | None = None

    async def ask(self) -> Answer | None:
        """One answer, or ``None``: then the failure is counted."""
        request = next(self._requests)
        self.asked += 1
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await Connection.open("127.0.0.1", self.arm.server.port)
            answer = await self._connection.ask(request)
            if answer.status != 200:
                raise Broken(f"{answer.status}: {answer.body.decode(errors='replace')}")
            if self._stream and not answer.body.endswith(b"data: [DONE]\n\n"):
                raise Broken("The stream has no end.")
        except (Broken, OSError) as error:
            self.close()
            self._failures.add(self.arm, str(error))
            return None
        return answer

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def ask(
    callers: Sequence[Caller], more: Callable[[], bool], heard: Callable[[Caller, Answer], None], pause: float = 0.01
) -> float:
    """Let every caller ask without a pause while there is ``more``, and hear each answer; the seconds it took."""

    async def client(caller: Caller) -> None:
        while more():
            answer = await caller.ask()
            if answer is None:
                await asyncio.sleep(pause)  # a server that refuses at once must not be hammered
            else:
                heard(caller, answer)

    started = time.monotonic()
    await asyncio.gather(*map(client, callers))
    passed = time.monotonic() - started
    for caller in callers:
        caller.close()
    return passed


async def load(callers: Sequence[Caller], seconds: float) -> Figures:
    """Requests a second of callers that ask without a pause, and milliseconds to the end of an answer.

    Of streams to their first token, too.
    """
    await asyncio.gather(*(caller.ask() for caller in callers))  # connections are made before the clock runs
    answers: list[Answer] = []  # read later
    passed = await ask(callers, before(time.monotonic() + seconds), lambda _, answer: answers.append(answer))
    if not answers:
        return {"requests_per_second": 0.0, "p50_ms": seconds * 1000, "p99_ms": seconds * 1000}
    found = _figures(answers)
    figures = {"requests_per_second": len(answers) / passed}
    names = {"p50_ms": "whole_p50", "p99_ms": "whole_p99", "first_p50_ms": "first_p50", "first_p99_ms": "first_p99"}
    return figures | {name: found[figure] / 1000 for name, figure in names.items() if figure in found}


def before(deadline: float) -> Callable[[], bool]:
    """Whether that moment of the monotonic clock is still to come."""
    return lambda: time.monotonic() < deadline


async def times(
    arms: Sequence[Arm], scenario: OneClient, failures: Failures, told: Told, *, stream: bool
) -> dict[str, list[Figures]]:
    """Figures of each arm, one entry a block, in microseconds: ``..._p50`` and ``..._p99``, and ``cpu``.

    ``whole`` is an answer, ``first`` its first token, ``gap`` what lies between two tokens, ``transit`` how long after
    it was sent a token came, ``cpu`` what an answer cost the process that was asked.
    """
    callers = {arm.name: Caller(arm, failures, stream=stream, tokens=scenario.tokens) for arm in arms}
    found: dict[str, list[Figures]] = {arm.name: [] for arm in arms}
    for block in range(-1, scenario.blocks):  # the first one warms up
        for arm in _rotated(arms, block):
            used = cpu_seconds(arm.server.pid)
            answers = [await callers[arm.name].ask() for _ in range(scenario.requests)]
            callers[arm.name].close()  # idle connections are closed by some servers
            kept = [answer for answer in answers[scenario.warm :] if answer is not None]
            if block >= 0 and kept:
                cpu = (cpu_seconds(arm.server.pid) - used) * 1e6 / len(answers)
                found[arm.name].append(_figures(kept) | {"cpu": cpu})
            told()
    return found


async def throughput(
    arms: Sequence[Arm], crowd: ManyClients, failures: Failures, told: Told, *, stream: bool, too_slow_ms: float = 500
) -> dict[str, list[Figures]]:
    """For each arm and each number of clients: what ``load`` finds, the median over blocks.

    An arm's next step is left out once its p99 is ``too_slow_ms``, far over what any reader would accept.
    """
    found: dict[str, list[Figures]] = {arm.name: [] for arm in arms}
    for clients in crowd.clients:
        blocks: dict[str, list[Figures]] = {arm.name: [] for arm in arms}
        for block in range(crowd.blocks):
            for arm in _rotated(arms, block):
                if not found[arm.name] or found[arm.name][-1]["p99_ms"] < too_slow_ms:
                    callers = [Caller(arm, failures, stream=stream, tokens=crowd.tokens) for _ in range(clients)]
                    blocks[arm.name].append(await load(callers, crowd.seconds))
                told()
        for name, figures in blocks.items():
            if figures:
                found[name].append({"clients": clients} | medians(figures))
    return found


def best(steps: Sequence[Figures], p99_ms: float) -> float:
    """The most requests a second with a p99 below ``p99_ms``; 0 when there is none."""
    return max((step["requests_per_second"] for step in steps if step["p99_ms"] < p99_ms), default=0.0)


def medians(blocks: Sequence[Figures]) -> Figures:
    """The median over blocks of each figure."""
    return {name: statistics.median(block[name] for block in blocks) for name in (blocks[0] if blocks else ())}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of all values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def gaps(answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """When each two tokens came that follow each other in an answer, in nanoseconds of the monotonic clock."""
    return [(one, next) for answer in answers for (one, _), (next, _) in pairwise(answer.tokens())]


def _figures(answers: Sequence[Answer]) -> Figures:
    samples: dict[str, list[float]] = {"whole": [answer.whole / 1000 for answer in answers]}
    streams = [(answer, answer.tokens()) for answer in answers if answer.streamed]
    samples["first"] = [(tokens[0][0] - answer.asked) / 1000 for answer, tokens in streams if tokens]
    samples["gap"] = [(after - before) / 1000 for _, tokens in streams for (before, _), (after, _) in pairwise(tokens)]
    samples["transit"] = [
        (came - int(sent)) / 1000 for _, tokens in streams for came, sent in tokens if _STAMP.fullmatch(sent)
    ]
    return {
        f"{name}_p{percent}": percentile(values, percent)
        for name, values in samples.items()
        if values
        for percent in (50, 99)
    }


def _rotated(arms: Sequence[Arm], block: int) -> list[Arm]:
    """Another one begins each time, so that none always follows the same."""
    start = block % len(arms)
    return [*arms[start:], *arms[:start]]
