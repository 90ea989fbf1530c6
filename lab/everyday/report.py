"""What people read of a run in the everyday world: each arm's cost with its interval over users, goals, tables."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from adapters.evaluation.interval import paired_interval
from lab.everyday.wishes import BY_NAME
from lab.prelude import figures
from lab.prelude.figures import Played, later, mean
from lab.prelude.goals import goal
from lab.prelude.log import Line
from lab.prelude.report import MET, in_order, name_of, unfinished
from lab.report import Cell, Report, Table, number, number_of, share_of
from preference.ports import Embedder

MARK = "bench-everyday"
HALVES: Mapping[str, Callable[[Played], Played]] = {
    "first half": lambda chain: [line for line in chain if line.number < line.rounds / 2],
    "second half": lambda chain: [line for line in chain if line.number >= line.rounds / 2],
}
LEARNERS = ("constant", "icl-edit-5", "cipher-5")
"""Whom Attune shall beat."""
CAPTION = "Cumulative edit cost by round in the everyday world"


def summarise(
    lines: Sequence[Line], embedder: Embedder | None = None, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All figures of a log, also of an unfinished run: costs in words a round, shares, tokens and seconds a round."""
    arms = {arm: played for (_, _, arm), played in figures.chains(lines).items()}
    held = {arm: _figures(arms[arm]) for arm in in_order(arms)}
    return {
        "arms": held,
        "goals": _goals(arms),
        "adapters": [
            {"seed": line.seed, "round": line.number + 1, **line.adapter}
            for played in arms.values()
            for chain in played
            for line in chain
            if line.adapter
        ],
        "partial": any(of["partial"] for of in held.values()),
        "rounds_played": len(lines),
        **(about or {}),
    }


def _figures(played: Sequence[Played]) -> dict[str, Any]:
    rounds = [line for chain in played for line in chain]
    spent = [chain[-1].expense for chain in played]
    count = len(rounds)
    known = [e for e in spent if e.learner_in is not None and e.learner_out is not None]
    return {
        **_by_user([fmean(r.cost for r in chain) for chain in played]),
        "halves": [mean([r.cost for chain in played for r in half(chain)]) for half in HALVES.values()],
        "after_first": mean([r.cost for chain in played for r in later(chain)]),
        "zero_edit": mean([r.cost == 0 for r in rounds]),
        "kept": _kept(rounds),
        "kept_test_only": _kept(rounds, test_only=True),
        "kept_by_wish": {
            name: mean([not r.broken[name] for r in rounds if name in r.broken])
            for name in sorted({name for r in rounds for name in r.broken})
        },
        "answer_in": sum(e.answer_in for e in spent) / count,
        "answer_out": sum(e.answer_out for e in spent) / count,
        "learner_in": sum(e.learner_in or 0 for e in known) / count if len(known) == len(spent) else None,
        "learner_out": sum(e.learner_out or 0 for e in known) / count if len(known) == len(spent) else None,
        "answer_seconds": mean([r.answer_seconds for r in rounds]),
        "learn_seconds": mean([r.learn_seconds for r in rounds]),
        "users": len(played),
        "rounds": max(chain[0].rounds for chain in played),
        "partial": any(len(chain) < chain[0].rounds for chain in played),
    }


def _by_user(costs: Sequence[float]) -> dict[str, Any]:
    mean, interval = paired_interval(np.asarray(costs))
    whole = len(costs) > 1
    return {"cost": round(mean, 3), "interval": [round(end, 3) for end in interval] if whole else None}


def _kept(rounds: Sequence[Line], *, test_only: bool = False) -> float | None:
    wishes = [
        not broken
        for line in rounds
        for name, broken in line.broken.items()
        if not test_only or BY_NAME[name].test_only
    ]
    return mean(wishes)


def _goals(arms: Mapping[str, Sequence[Played]]) -> list[dict[str, Any]]:
    """Attune below every other learner in both halves; near the oracle; better with an adapter."""
    ours, found = arms.get("attune", ()), []
    for name, half in HALVES.items():
        for other in LEARNERS:
            found.append(goal(f"attune / {other}, {name}", "<", 1, figures.ratio(ours, arms.get(other, ()), half)))
    oracle = figures.ratio(ours, arms.get("oracle", ()), later)
    found.append(goal("attune / oracle, after first encounters", "<=", 1.3, oracle))
    found.append(goal("attune+adapter / attune", "<", 1, figures.ratio(arms.get("attune+adapter", ()), ours)))
    return found


def report(summary: Mapping[str, Any]) -> Report:
    """What there is to tell of the figures."""
    blocks: list[str | Table] = [unfinished(summary)] if summary["partial"] else []
    users, rounds = (max((of[name] for of in summary["arms"].values()), default=0) for name in ("users", "rounds"))
    blocks.append(f"{users} users, {rounds} rounds each; costs in words, tokens and seconds are a round's:")
    for columns in (_COSTS, _SPENT):
        cells = [[name_of(arm, of), *(cell(of) for cell in columns.values())] for arm, of in summary["arms"].items()]
        blocks.append(Table(("arm", *columns), cells))
    goals = [[g["what"], g["goal"], number(g["figure"], 3), MET[g["met"]]] for g in summary["goals"]]
    blocks.append(Table(("goal", "limit", "figure", "met"), goals))
    for one in summary["adapters"]:
        said = one["report"].get("sentence", one["state"])
        blocks.append(f"User {one['seed']}, after {one['round']} rounds, in {one['seconds']:.0f} s: {said}")
    return blocks


def _tokens(whose: str) -> Cell:
    return lambda of: "-" if of[f"{whose}_in"] is None else f"{of[f'{whose}_in']:,.0f} / {of[f'{whose}_out']:,.0f}"


def _span(of: Mapping[str, Any]) -> str:
    return "one user" if of["interval"] is None else "[{:.1f}, {:.1f}]".format(*of["interval"])


_COSTS: Mapping[str, Cell] = {
    "cost": number_of("cost", 1), "95% by user": _span, "first half": lambda of: number(of["halves"][0], 1),
    "second half": lambda of: number(of["halves"][1], 1), "after first": number_of("after_first", 1),
    "zero-edit": share_of("zero_edit"), "wishes kept": share_of("kept"), "test-only": share_of("kept_test_only"),
}  # fmt: skip
_SPENT: Mapping[str, Cell] = {
    "answer, in / out": _tokens("answer"), "learner, in / out": _tokens("learner"),
    "s to answer": number_of("answer_seconds", 1), "s to learn": number_of("learn_seconds", 1),
}  # fmt: skip
