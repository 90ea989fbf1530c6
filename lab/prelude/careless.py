"""Edits of a user in a hurry: they mistype, correct only a part, or have somebody else in mind."""

import random
import re
from collections.abc import Sequence
from typing import Literal

from lab.render import detect, render
from lab.simulated_user import SimulatedUser
from lab.style import Style
from lab.world import Request

Slip = Literal["typo", "partial", "foreign"]
SLIPS: tuple[Slip, ...] = ("typo", "partial")
"""Those that happen often; a ``foreign`` edit happens once in a run."""

_LONG_WORD = re.compile(r"[A-Za-z]{5,}")


def slip(
    kind: Slip, user: SimulatedUser, request: Request, draft: str, others: Sequence[Style], rng: random.Random
) -> str:
    """What ``user`` sends instead of the careful edit; ``others`` are the styles of other kinds."""
    if kind == "typo":
        return _mistyped(user.edit(request, draft), rng)
    wants = user.wants(request) if kind == "partial" else rng.choice(others)
    shown = detect(draft, request.facts)
    if kind == "partial":
        wrong = [attribute for attribute, value in wants.items() if shown[attribute] != value]
        if len(wrong) > 1:
            seen = rng.sample(wrong, rng.randint(1, min(2, len(wrong) - 1)))
            wants = {attribute: wants[attribute] for attribute in seen}
    return render(request.facts, {**shown, **wants})


def _mistyped(text: str, rng: random.Random) -> str:
    """``text`` with two letters inside one of its longer words in each other's place."""
    places = [
        i
        for word in _LONG_WORD.finditer(text)
        for i in range(word.start() + 1, word.end() - 2)
        if text[i].lower() != text[i + 1].lower()
    ]
    if not places:
        return text
    i = rng.choice(places)
    return f"{text[:i]}{text[i + 1]}{text[i]}{text[i + 2 :]}"
