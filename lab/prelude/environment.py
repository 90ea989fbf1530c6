"""PRELUDE's two environments in the synthetic world: who asks for what in which order, and what they want of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lab.habit import LINES, Habit
from lab.lexicon import KIND_BY_NAME
from lab.prelude.careless import SLIPS, Slip, slip
from lab.prelude.ports import Environment, Round
from lab.render import detect, render
from lab.simulated_user import SimulatedUser
from lab.style import PHRASINGS, Style, canonical_phrase, random_style
from lab.world import Request
from preference.distance import word_distance

KINDS: dict[str, tuple[str, ...]] = {
    "email": ("client", "friend", "teacher", "landlord"),
    "summary": ("news", "review", "study", "incident", "travel"),
}
VARIANTS = ("plain", "drift", "noise", "habit")
WISHES = 5
"""Attributes that the user cares about for each kind."""
BEYOND_THE_MODEL = ("ending", "source")
"""Nobody wants it: told to, the bundled model names a source, and nearly always a wrong one."""
CARELESS_SHARE = 0.2


@dataclass(frozen=True)
class _Secret:
    request: Request
    slip: Slip | None


class SyntheticEnvironment(Environment):
    """One simulated user's requests in one task. Variants have the same requests, and differ as their names say."""

    def __init__(self, name: str, *, seed: int, rounds: int, variant: str) -> None:
        self.name = name
        self.kinds: Sequence[str] = KINDS[name]
        self._seed = f"{name} {seed}"
        self._change = rounds // 2
        rng = self._random("styles")
        styles = {kind: {a: rng.choice(_values(a)) for a in random_style(name, rng, WISHES)} for kind in self.kinds}
        self._before = SimulatedUser(styles)
        self._after = SimulatedUser(self._drifted(styles) if variant == "drift" else styles)
        slips = self._slips(rounds) if variant == "noise" else {}
        self._habit = Habit(self._random("habit").choice(LINES) if variant == "habit" else None)
        rng = self._random("requests")
        self.rounds: Sequence[Round] = tuple(
            self._round(number, kind, slips.get(number), rng)
            for number, kind in enumerate(shuffled(self.kinds, rounds, self._random("order")))
        )

    def wants(self, round: Round) -> Sequence[str]:
        """The canonical phrases of the style behind a round, and the user's habit."""
        return self._phrases(self._user(round.number).styles[round.kind])

    async def edit(self, round: Round, draft: str) -> str:
        """The careful user's smallest correction, or what a careless one makes of it."""
        return self._edited(round, draft)

    def _edited(self, round: Round, draft: str) -> str:
        secret: _Secret = round.secret
        user = self._user(round.number)
        careful = self._careful(round, draft)
        edits = [careful]
        if secret.slip is not None:
            others = [style for kind, style in user.styles.items() if kind != round.kind]
            rng = self._random(f"slip {round.number}")
            edits.insert(0, slip(secret.slip, user, secret.request, draft, others, rng))
        # A slip that changes nothing would accept a draft that may need an edit.
        return next((edited for edited in edits if word_distance(draft, edited) > 0), draft)

    def cost(self, round: Round, draft: str, edited: str) -> int:
        """Words between the draft and the careful edit, whatever the user really sent."""
        return word_distance(draft, self._careful(round, draft))

    def faultless(self) -> int:
        """What a learner would pay, in words, that knows at once whatever an edit shows of a kind's style.

        It carries nothing from one kind to another, but for the user's habit, which it has after the first edit. Its
        model has no fault, and a foreign edit does not mislead it.
        """
        known: dict[str, dict[str, str]] = {kind: {} for kind in self.kinds}
        total = 0
        for at in self.rounds:
            facts, wants = at.secret.request.facts, self._user(at.number).styles[at.kind]
            draft = render(facts, known[at.kind])
            if at.number > 0:
                draft = self._habit.signed(draft)
            total += self.cost(at, draft, draft)
            if at.secret.slip != "foreign":
                shown = detect(self._habit.unsigned(self._edited(at, draft)), facts)
                known[at.kind] |= {a: value for a, value in wants.items() if shown[a] == value}
        return total

    def wrong(self, round: Round, draft: str) -> dict[str, str]:
        """What the user wants of a round and ``draft`` has not, as attributes with the values that are wanted."""
        shown = detect(self._habit.unsigned(draft), round.secret.request.facts)
        return {a: value for a, value in self._user(round.number).styles[round.kind].items() if shown[a] != value}

    def past(self, samples: int) -> list[tuple[str, str, str]]:
        """Requests from before the rounds, drafts of no style, and what the user made of them."""
        requests = self.earlier(samples)
        drafts = [(request, render(request.facts, {})) for request in requests]
        return [
            (request.text, draft, self._habit.signed(self._before.edit(request, draft))) for request, draft in drafts
        ]

    def earlier(self, samples: int) -> list[Request]:
        """So many requests of each kind that are no round's."""
        rng = self._random("past")
        return [self._before.request(KIND_BY_NAME[kind], rng) for _ in range(samples) for kind in self.kinds]

    def own(self, round: Round) -> str:
        """What the user would have written without a draft."""
        return self._careful(round, render(round.secret.request.facts, {}))

    def stream(self, purpose: str) -> random.Random:
        """A stream of chance of its own for each purpose."""
        return self._random(purpose)

    def _careful(self, round: Round, draft: str) -> str:
        """The smallest correction of ``draft``; a habit is the last line, whatever else is."""
        user = self._user(round.number)
        return self._habit.signed(user.edit(round.secret.request, self._habit.unsigned(draft)))

    def _user(self, number: int) -> SimulatedUser:
        return self._after if number >= self._change else self._before

    def _phrases(self, style: Style) -> list[str]:
        habit = [f'End with the line "{self._habit.line}".'] if self._habit.line is not None else []
        return [*(canonical_phrase(attribute, value) for attribute, value in style.items()), *habit]

    def _random(self, purpose: str) -> random.Random:
        """A stream of its own for each purpose, so that a variant moves nothing else."""
        return random.Random(f"{self._seed} {purpose}")

    def _round(self, number: int, kind: str, slip: Slip | None, rng: random.Random) -> Round:
        request = self._before.request(KIND_BY_NAME[kind], rng)
        return Round(number, request.text, kind, careless=slip is not None, secret=_Secret(request, slip))

    def _drifted(self, styles: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        """One kind's attributes all take another value."""
        rng = self._random("drift")
        kind = rng.choice(self.kinds)
        changed = {a: rng.choice([v for v in _values(a) if v != value]) for a, value in styles[kind].items()}
        return {**styles, kind: changed}

    def _slips(self, rounds: int) -> dict[int, Slip]:
        """Which rounds are careless, and how: one edit is for another kind's style."""
        rng = self._random("careless")
        chosen = rng.sample(range(rounds), round(rounds * CARELESS_SHARE))
        return {n: "foreign" if i == 0 else rng.choice(SLIPS) for i, n in enumerate(chosen)}


def make(name: str, *, seed: int, rounds: int, variant: str = "plain") -> SyntheticEnvironment:
    """The environment ``name``; ``ValueError`` says which there are."""
    for what, known, asked in (("environment", KINDS, name), ("variant", VARIANTS, variant)):
        if asked not in known:
            raise ValueError(f"There is no {what} {asked!r}: {', '.join(known)}.")
    if rounds < 1:
        raise ValueError("An environment has at least one round.")
    return SyntheticEnvironment(name, seed=seed, rounds=rounds, variant=variant)


def shuffled(kinds: Sequence[str], rounds: int, rng: random.Random) -> list[str]:
    """A kind for each round, in random order; counts differ by one where ``rounds`` cannot be shared equally."""
    order = [kinds[n % len(kinds)] for n in range(rounds)]
    rng.shuffle(order)
    return order


def other_value(attribute: str, value: str, rng: random.Random) -> tuple[str, str]:
    """The attribute with another value than ``value``."""
    return attribute, rng.choice([other for other in _values(attribute) if other != value])


def _values(attribute: str) -> list[str]:
    return [value for value in PHRASINGS[attribute] if (attribute, value) != BEYOND_THE_MODEL]
