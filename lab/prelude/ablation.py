"""The server with one part of its learner left out: `python -m lab.prelude.ablation PART serve ...`."""

import math
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

PARTS = {
    "verification": "what was inferred is believed, and what was applied stays",
    "pruning": "what was inferred is kept or dropped as a whole",
    "plain answer": "it is inferred beside the draft alone",
    "contradiction": "no situation is ended, and no preference superseded",
    "likeness": "plain cosine",
    "nearness": "near and less near contexts count the same",
    "experience": "votes spread as narrowly as of a new user, however well kinds are known",
    "recency": "old and new contexts count the same",
}
"""What happens where a part is missing."""


def leave_out(part: str) -> None:
    """Take a part out of this process. Raises ``KeyError`` for an unknown one."""
    from preference import learning, likeness
    from preference.recall import RecallLimits
    from preference.study import Study
    from server import services

    infer = Study._infer

    async def believe(self: Study, cost: int) -> tuple[list[str], list[str]]:
        applied = [p.text for p in self._applied]
        (inferred,) = await infer(self, [self._edit.draft])
        return list(dict.fromkeys([*applied, *inferred])), []

    async def infer_once(self: Study, drafts: Sequence[str]) -> list[list[str]]:
        return await infer(self, drafts[:1])

    async def keep(self: Study, texts: list[str], candidates: list[str], _: object) -> list[str]:
        return [*texts, *candidates]

    places: dict[str, tuple[Any, str, Any]] = {
        "verification": (Study, "_explain", believe),
        "pruning": (Study, "_prune", keep),
        "plain answer": (Study, "_infer", infer_once),
        "contradiction": (learning.Learner, "_end", lambda *_: set()),
        "likeness": (likeness, "FLOOR", 1e9),
        "nearness": (services, "RecallLimits", partial(RecallLimits, spread=math.inf)),
        "experience": (services, "RecallLimits", partial(RecallLimits, widening=0.0)),
        "recency": (services, "RecallLimits", partial(RecallLimits, recency=1.0)),
    }
    place, name, instead = places[part]
    getattr(place, name)  # a part that has moved is not left out in silence
    setattr(place, name, instead)


if __name__ == "__main__":
    from server.cli import main

    leave_out(sys.argv.pop(1))
    main()
