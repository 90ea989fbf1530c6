"""The demo's users: wishes for each of three kinds of text, and a habit that no preference in words brings about."""

import random
from dataclasses import dataclass
from typing import Any

from lab.everyday.environment import EverydayEnvironment
from lab.habit import LINES, SHORT, Habit, Shorthand
from lab.lexicon import KIND_BY_NAME
from lab.simulated_user import SimulatedUser
from lab.style import canonical_phrase
from server.settings import BUNDLED_NAME


@dataclass(frozen=True)
class Asked:
    """One request, of a kind; ``secret`` is what its user alone knows of it."""

    text: str
    kind: str
    secret: Any


class EverydayUser:
    """Writes emails, posts and short answers in everyday English, and shortens words as some people do."""

    kinds = ("email", "post", "answer")

    def __init__(self, seed: int) -> None:
        world = EverydayEnvironment(seed=seed, rounds=80)
        self._world = world
        self._left = [Asked(one.text, one.kind, one) for one in world.rounds if one.kind in self.kinds]
        rng = random.Random(f"habit {seed}")
        self._habit = Shorthand({"and": SHORT["and"], **dict(rng.sample(sorted(SHORT.items()), 3))})

    def requests(self, number: int) -> list[Asked]:
        """The next ones, a like share of each kind. Raises ``ValueError`` where there are not so many."""
        if number > len(self._left):
            raise ValueError(f"An everyday user has {len(self._left)} requests left: ask for no more of them.")
        self._left, found = self._left[number:], self._left[:number]
        return found

    def edit(self, asked: Asked, answer: str) -> str:
        """The text that the user really sends: the smallest correction of ``answer``, and the habit."""
        return self._habit.signed(self._world.mended(asked.secret, self._habit.unsigned(answer)))

    def wants(self, asked: Asked) -> list[str]:
        """What the oracle is told of a request: the habit in plain English, too."""
        return [*self._world.wants(asked.secret), self._habit.said]


class SyntheticUser:
    """Of the bundled model's world; ends every text with a line of their own."""

    kinds = ("client", "incident", "review")

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._user = SimulatedUser.invent(self.kinds, seed)
        self._habit = Habit(random.Random(f"habit {seed}").choice(LINES))

    def requests(self, number: int) -> list[Asked]:
        """See ``EverydayUser``."""
        names: list[str] = []
        while len(names) < number:
            names += self._rng.sample(self.kinds, len(self.kinds))
        asked = [self._user.request(KIND_BY_NAME[name], self._rng) for name in names[:number]]
        return [Asked(one.text, one.facts.kind, one) for one in asked]

    def edit(self, asked: Asked, answer: str) -> str:
        """See ``EverydayUser``."""
        return self._habit.signed(self._user.edit(asked.secret, self._habit.unsigned(answer)))

    def wants(self, asked: Asked) -> list[str]:
        """See ``EverydayUser``."""
        wishes = [canonical_phrase(attribute, value) for attribute, value in self._user.wants(asked.secret).items()]
        return [*wishes, self._habit.said]


DemoUser = EverydayUser | SyntheticUser


def demo_user(model: str, seed: int) -> DemoUser:
    """Who can be played with ``model``: the bundled one knows a synthetic world alone."""
    return SyntheticUser(seed) if model == BUNDLED_NAME else EverydayUser(seed)
