"""How often a user's adapter is where the request goes: by events, and on paper for as many users as there are people.

Users are drawn by a Zipf law. A tier keeps the least recently used ones; who is not there is answered without an
adapter while it is loaded, one at a time, and makes the one go that is idle longest. `capacity.py` compares this with
what the registry really does.
"""

import bisect
import heapq
import itertools
from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]
RETRY = 3.0
"""Seconds that the registry waits after a load for which there was no room."""
QUEUE = 16
"""Users who may wait for their load at a time, where there are fewer places: the registry's own bound."""
_BINS = 4096


@dataclass(frozen=True)
class Workload:
    """``clients`` ask for users in turn, without a pause; an answer takes ``answer`` seconds and a load ``load``."""

    users: int
    slots: int
    exponent: float = 1.0
    clients: int = 8
    answer: float = 0.04
    load: float = 0.02
    seconds: float = 60.0

    def draws(self, seed: int) -> "itertools.cycle[int]":
        """Users, most often the first ones."""
        weights = np.arange(1, self.users + 1) ** -self.exponent
        rng = np.random.default_rng(seed)
        return itertools.cycle(rng.choice(self.users, 1 << 17, p=weights / weights.sum()).tolist())


@dataclass
class Hits:
    """Answers in all, those by the user's own adapter, and loads."""

    answers: int = 0
    hits: int = 0
    loads: int = 0

    @property
    def share(self) -> float:
        """Of answers that came from the user's adapter."""
        return self.hits / max(1, self.answers)


def simulate(workload: Workload, seed: int = 0, warm: float = 0.0) -> Hits:
    """Event by event, as `adapters/registry/` goes about it; the first ``warm`` seconds do not count."""
    draws, told = workload.draws(seed), Hits()
    held: OrderedDict[int, int] = OrderedDict()  # by last use; how many answers are under way
    waiting: deque[int] = deque()  # the first one is being loaded
    not_before: dict[int, float] = {}
    events: list[tuple[float, int, str, int]] = []
    order = itertools.count()

    def later(at: float, what: str, user: int) -> None:
        heapq.heappush(events, (at, next(order), what, user))

    def ask(now: float) -> None:
        user = next(draws)
        hit = user in held
        if hit:
            held.move_to_end(user)
            held[user] += 1
        elif user not in waiting and len(waiting) < max(workload.slots, QUEUE) and now >= not_before.get(user, 0.0):
            waiting.append(user)
            if len(waiting) == 1:
                turn(now)
        if now >= warm:
            told.answers += 1
            told.hits += hit
        later(now + workload.answer, "hit" if hit else "miss", user)

    def turn(now: float) -> None:
        while waiting:
            if len(held) >= workload.slots:
                victim = next((one for one, busy in held.items() if not busy), None)
                if victim is None:
                    not_before[waiting.popleft()] = now + RETRY
                    continue
                del held[victim]
            later(now + workload.load, "loaded", waiting[0])
            return

    for _ in range(workload.clients):
        ask(0.0)
    while events and events[0][0] < workload.seconds:
        now, _, what, user = heapq.heappop(events)
        if what == "loaded":
            waiting.popleft()
            held[user] = 0
            told.loads += now >= warm
            turn(now)
            continue
        if what == "hit":
            held[user] -= 1
        ask(now)
    return told


def zipf(users: int, exponent: float) -> tuple[Floats, Floats]:
    """How many users there are in each of some bins of ranks, and how likely each of them is to ask next."""
    edges = np.unique(np.round(np.geomspace(1, users + 1, min(_BINS, users) + 1)).astype(np.int64))
    first, last = edges[:-1].astype(float), edges[1:].astype(float)
    counts = last - first
    middle = np.sqrt(first * np.maximum(first, last - 1))
    weights = middle**-exponent
    likely: Floats = weights / float((counts * weights).sum())
    return counts, likely


def on_paper(users: int, slots: int, exponent: float) -> float:
    """The share of requests that find their user among the ``slots`` last used, by Che's approximation (2002).

    Who is there was asked for within the time T in which as many others were as there is room: 1 - exp(-p T).
    """
    if slots >= users:
        return 1.0
    counts, likely = zipf(users, exponent)

    def there(time: float) -> Floats:
        shares: Floats = -np.expm1(-likely * time)
        return shares

    most = 1.0
    while float((counts * there(most)).sum()) < slots:
        most *= 2
    time = brentq(lambda time: float((counts * there(time)).sum()) - slots, 0.0, most, xtol=1e-9, rtol=1e-14)
    return float((counts * likely * there(time)).sum())


def places_for(users: int, share: float, exponent: float) -> int:
    """How many places it takes that such a share of requests finds its user there."""
    return 1 + bisect.bisect_left(range(1, users), share, key=lambda slots: on_paper(users, slots, exponent))
