"""The demo's user: a hidden style for each kind of request, and a habit that no preference in words brings about."""

import random

from lab.demo_figures import KINDS
from lab.habit import LINES, Habit
from lab.lexicon import KIND_BY_NAME
from lab.simulated_user import SimulatedUser
from lab.style import canonical_phrase
from lab.world import Request


class DemoUser:
    """Wants of each kind what its style says, and ends every text with a line of their own."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._user = SimulatedUser.invent(KINDS, seed)
        self._habit = Habit(random.Random(f"habit {seed}").choice(LINES))

    def requests(self, number: int) -> list[Request]:
        """Every kind comes once before any comes again, in an order of its own each time."""
        kinds: list[str] = []
        while len(kinds) < number:
            kinds += self._rng.sample(KINDS, len(KINDS))
        return [self._user.request(KIND_BY_NAME[kind], self._rng) for kind in kinds[:number]]

    def edit(self, request: Request, answer: str) -> str:
        """The text the user really sends: the smallest correction of ``answer``, and the line at its end."""
        return self._habit.signed(self._user.edit(request, self._habit.unsigned(answer)))

    def wants(self, request: Request) -> list[str]:
        """What the oracle is told of a request: the habit in plain English, too."""
        wishes = [canonical_phrase(attribute, value) for attribute, value in self._user.wants(request).items()]
        return [*wishes, f'End with the line "{self._habit.line}".']
