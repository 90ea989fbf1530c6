"""PRELUDE's protocol on everyday requests in English: who asks for what in which order, and what they want of it."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.everyday.wishes import KINDS, WISHES, About, Wanted, Wish, mend
from lab.prelude.environment import shuffled
from lab.prelude.ports import Environment, Round
from preference.distance import word_distance

REQUESTS = Path(__file__).resolve().parent / "requests.jsonl"
NAME = "everyday"
FAMILIES = ("dev", "all")
WANTED = 4
"""Wishes that a user has for each kind of text."""
USERS = ("Sam", "Mara", "Noor", "Ellis", "Joana", "Kim")


@dataclass(frozen=True)
class _Asked:
    kind: str
    text: str
    name: str
    topic: str


class EverydayEnvironment(Environment):
    """One user's requests, an equal share of each kind in random order; a request comes again once all were asked.

    With ``families`` "all" one wish at least of each kind is of a family that is for testing alone, where it has any;
    with "dev" none is.
    """

    def __init__(self, *, seed: int, rounds: int, families: str = "all") -> None:
        if rounds < 1:
            raise ValueError("An environment has at least one round.")
        if families not in FAMILIES:
            raise ValueError(f"There are no families {families!r}: {', '.join(FAMILIES)}.")
        self.kinds: Sequence[str] = KINDS
        rng = random.Random(f"everyday {seed}")
        self._user = rng.choice(USERS)
        self._wanted = {kind: self._drawn(kind, families, rng) for kind in KINDS}
        asked = requests()
        queues = {kind: _endless([one for one in asked if one.kind == kind], rng) for kind in KINDS}
        order = shuffled(KINDS, rounds, rng)
        self.rounds: Sequence[Round] = tuple(
            Round(number, (one := next(queues[kind])).text, kind, secret=About(one.name, one.topic, self._user))
            for number, kind in enumerate(order)
        )

    def wants(self, round: Round) -> Sequence[str]:
        """The wordings of what is wanted of a round."""
        return [one.text for one in self._wanted[round.kind]]

    async def edit(self, round: Round, draft: str) -> str:
        """The smallest correction of a draft; the draft itself where it is right."""
        return self.mended(round, draft)

    def mended(self, round: Round, draft: str) -> str:
        """What ``edit`` returns."""
        edited = mend(draft, self._wanted[round.kind], round.secret)
        return edited if word_distance(draft, edited) > 0 else draft

    def broken(self, round: Round, draft: str) -> dict[str, bool]:
        """Each wish by its name, and whether the draft breaks it."""
        about = round.secret
        return {one.wish.name: word_distance(draft, one.grant(draft, about)) > 0 for one in self._wanted[round.kind]}

    def _drawn(self, kind: str, families: str, rng: random.Random) -> tuple[Wanted, ...]:
        possible = [wish for wish in WISHES if kind in wish.kinds and (families == "all" or not wish.test_only)]
        rng.shuffle(possible)
        if families == "all":
            possible.sort(key=lambda wish: not wish.test_only)
            possible = [*possible[:1], *rng.sample(possible[1:], len(possible) - 1)]
        chosen: list[Wish] = []
        for wish in possible:
            if len(chosen) < WANTED and not any(wish.name in other.excludes for other in chosen):
                chosen.append(wish)
        return tuple(self._worded(wish, rng) for wish in chosen)

    def _worded(self, wish: Wish, rng: random.Random) -> Wanted:
        value = rng.choice(wish.values)
        return Wanted(wish, value, rng.choice(wish.phrasings).format(value=value, user=self._user))


def requests() -> list[_Asked]:
    """All requests."""
    return [_Asked(**json.loads(line)) for line in REQUESTS.read_text(encoding="utf-8").splitlines()]


def _endless(asked: Sequence[_Asked], rng: random.Random) -> Iterator[_Asked]:
    order = rng.sample(asked, len(asked))
    while True:
        yield from order
