"""The server with one part of its learner left out: `python -m lab.prelude.ablation PART serve ...`."""

import math
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

PARTS = {
    "judgement": "what was proposed is believed, and what was applied stays",
    "contradiction": "an edit says nothing against a preference",
    "absence": "a situation says nothing against what did not show there",
    "fading": "old and new evidence count the same",
    "likeness": "plain cosine",
    "nearness": "near and less near contexts count the same",
    "experience": "evidence spreads as narrowly as of a new user, however well kinds are known",
}
"""What happens where a part is missing."""


def leave_out(part: str) -> None:
    """Take a part out of this process. Raises ``KeyError`` for an unknown one."""
    from preference import evidence
    from preference.learning import judge
    from preference.learning.judge import Lift, LikelihoodJudge
    from preference.recall import index, similarity
    from preference.recall.index import RecallLimits
    from server import composition

    async def believe(self: LikelihoodJudge, candidates: Sequence[str], beside: Sequence[str] = ()) -> list[Lift]:
        return [Lift(1.0, 1.0, 1.0) for _ in candidates]

    places: dict[str, tuple[Any, str, Any]] = {
        "judgement": (judge.LikelihoodJudge, "lifts", believe),
        "contradiction": (evidence, "of_lift", lambda z: max(0.25, z)),
        "absence": (index, "ABSENT", 0.0),
        "fading": (index, "KEPT", 1.0),
        "likeness": (similarity, "FLOOR", 1e9),
        "nearness": (composition, "RecallLimits", partial(RecallLimits, spread=math.inf)),
        "experience": (composition, "RecallLimits", partial(RecallLimits, widening=0.0)),
    }
    place, name, instead = places[part]
    getattr(place, name)  # a part that has moved is not left out in silence
    setattr(place, name, instead)


if __name__ == "__main__":
    from server.cli import main

    leave_out(sys.argv.pop(1))
    main()
