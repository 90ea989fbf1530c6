"""A rule-based user with a hidden style per kind of context; knows the world's rules, never the model.

Accepts an answer that satisfies the hidden style and keeps the facts, otherwise returns the nearest text that does:
whatever the answer does beyond the hidden style is left as it stands.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.lexicon import KIND_BY_NAME, Kind
from lab.render import detect, render
from lab.style import Style, random_style
from lab.world import Request, random_request


@dataclass(frozen=True)
class SimulatedUser:
    """``styles`` maps a kind's name to what the user wants there, which nobody else may read."""

    styles: Mapping[str, Style]

    @classmethod
    def invent(cls, kinds: Sequence[str], seed: int) -> "SimulatedUser":
        """A user who cares about every attribute, differently for each kind."""
        rng = random.Random(seed)
        return cls({name: random_style(KIND_BY_NAME[name].task, rng) for name in kinds})

    def request(self, kind: Kind, rng: random.Random) -> Request:
        """Something this user asks for, about facts whose words the model never saw together."""
        return random_request(rng, kind, held_out=True)

    def wants(self, request: Request) -> Style:
        """The hidden style for a request."""
        return self.styles[request.facts.kind]

    def edit(self, request: Request, answer: str) -> str:
        """The text the user really sends: ``answer`` itself when it is right, else its smallest correction."""
        shown = detect(answer, request.facts)
        return render(request.facts, {**shown, **self.wants(request)})
