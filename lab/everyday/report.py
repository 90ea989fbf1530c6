"""What people read of a run in the everyday world: each arm's cost with its interval over users, goals, tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from adapters.interval import paired_interval
from lab.everyday.wishes import BY_NAME
from lab.prelude import figures
from lab.prelude.figures import Chain
from lab.prelude.log import Line
from lab.prelude.report import about_line, in_order, put, write
from preference.ports import Embedder

__all__ = ["summarise", "table", "write", "write_docs"]
OPEN, CLOSE = "<!-- bench-everyday -->", "<!-- /bench-everyday -->"
HEAD = (
    "arm", "cost", "95% by user", "first half", "second half", "after first", "zero-edit", "wishes kept", "test-only",
)  # fmt: skip
SPENT = ("arm", "answer, in / out", "learner, in / out", "s to answer", "s to learn")
GOALS = ("goal", "limit", "figure", "met")
LEARNERS = ("constant", "icl-edit-5", "cipher-5")
"""Whom Attune shall beat."""
_CAPTIONS = {
    "everyday-cumulative": "Cumulative edit cost by round in the everyday world",
    "everyday-zero-edit": "Share of drafts that need no edit in the everyday world",
}


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


def _figures(played: Sequence[Chain]) -> dict[str, Any]:
    rounds = [line for chain in played for line in chain]
    firsts = {(r.seed, r.number) for chain in played for r in figures.first_encounters(chain)}
    later = [r for r in rounds if (r.seed, r.number) not in firsts]
    spent = [chain[-1].expense for chain in played]
    count = len(rounds)
    known = [e for e in spent if e.learner_in is not None and e.learner_out is not None]
    return {
        **_by_user([fmean(r.cost for r in chain) for chain in played]),
        "halves": [_mean([r.cost for r in part]) for part in _halves(played)],
        "after_first": _mean([r.cost for r in later]),
        "zero_edit": _mean([r.cost == 0 for r in rounds]),
        "kept": _kept(rounds),
        "kept_test_only": _kept(rounds, test_only=True),
        "kept_by_wish": {
            name: _mean([not r.broken[name] for r in rounds if name in r.broken])
            for name in sorted({name for r in rounds for name in r.broken})
        },
        "answer_in": sum(e.answer_in for e in spent) / count,
        "answer_out": sum(e.answer_out for e in spent) / count,
        "learner_in": sum(e.learner_in or 0 for e in known) / count if len(known) == len(spent) else None,
        "learner_out": sum(e.learner_out or 0 for e in known) / count if len(known) == len(spent) else None,
        "answer_seconds": _mean([r.answer_seconds for r in rounds]),
        "learn_seconds": _mean([r.learn_seconds for r in rounds]),
        "users": len(played),
        "rounds": max(chain[0].rounds for chain in played),
        "partial": any(len(chain) < chain[0].rounds for chain in played),
    }


def _by_user(costs: Sequence[float]) -> dict[str, Any]:
    mean, interval = paired_interval(np.asarray(costs))
    whole = len(costs) > 1
    return {"cost": round(mean, 3), "interval": [round(end, 3) for end in interval] if whole else None}


def _halves(played: Sequence[Chain]) -> tuple[list[Line], list[Line]]:
    rounds = [line for chain in played for line in chain]
    first = [r for r in rounds if r.number < r.rounds / 2]
    return first, [r for r in rounds if r.number >= r.rounds / 2]


def _kept(rounds: Sequence[Line], *, test_only: bool = False) -> float | None:
    wishes = [
        not broken
        for line in rounds
        for name, broken in line.broken.items()
        if not test_only or BY_NAME[name].test_only
    ]
    return _mean(wishes)


def _goals(arms: Mapping[str, Sequence[Chain]]) -> list[dict[str, Any]]:
    """Attune below every other learner in both halves; near the oracle; better with an adapter."""

    def goal(what: str, limit: float, figure: float | None, *, below: bool = True) -> dict[str, Any]:
        met = None if figure is None else (figure < limit if below else figure <= limit)
        return {"what": what, "goal": f"{'<' if below else '<='} {limit}", "figure": figure, "met": met}

    ours, found = arms.get("attune", ()), []
    for at, half in enumerate(("first half", "second half")):
        for other in LEARNERS:
            found.append(goal(f"attune / {other}, {half}", 1, _ratio(ours, arms.get(other, ()), at)))
    oracle = figures.ratio(ours, arms.get("oracle", ()), but_first=True)
    found.append(goal("attune / oracle, after first encounters", 1.3, oracle, below=False))
    found.append(goal("attune+adapter / attune", 1, figures.ratio(arms.get("attune+adapter", ()), ours)))
    return found


def _ratio(ours: Sequence[Chain], theirs: Sequence[Chain], half: int) -> float | None:
    """Our cost by theirs over the rounds of one half that both have played."""
    a, b = ({(r.seed, r.number): r.cost for r in _halves(side)[half]} for side in (ours, theirs))
    both = a.keys() & b.keys()
    below = sum(b[key] for key in both)
    return round(sum(a[key] for key in both) / below, 4) if below else None


def table(summary: Mapping[str, Any]) -> Group:
    """The tables for a terminal."""
    shown: list[Table | Text] = [Text(_partial(summary), style="yellow")] if summary["partial"] else []
    for head, rows in _tables(summary):
        made = Table(*head)
        for row in rows:
            made.add_row(*row)
        shown.append(made)
    return Group(*shown, *map(Text, _adapters(summary)))


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables for a document."""
    size = max(summary["arms"].values(), key=lambda of: of["users"])
    blocks = [about_line(summary)] if "machine" in summary else []
    blocks += [f"**{_partial(summary)}**"] if summary["partial"] else []
    blocks.append(
        f"{size['users']} users, {size['rounds']} rounds each; costs in words, tokens and seconds are a round's:"
    )
    for head, rows in _tables(summary):
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
        blocks.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join([*blocks, *_adapters(summary)])


def write_docs(summary: Mapping[str, Any], path: Path, plots: Sequence[Path] = ()) -> None:
    """Put the tables and ``plots`` between the markers of a document; ``ValueError`` if it has none."""
    images = [f"![{_CAPTIONS[plot.stem]}]({plot.relative_to(path.parent).as_posix()})" for plot in plots]
    put(path, OPEN, CLOSE, "\n\n".join([markdown(summary), *images]))


def _tables(summary: Mapping[str, Any]) -> list[tuple[Sequence[str], list[tuple[str, ...]]]]:
    return [(HEAD, _rows(summary)), (SPENT, _spent_rows(summary)), (GOALS, _goal_rows(summary))]


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"{arm} (unfinished)" if of["partial"] else arm, _number(of["cost"]), _span(of["interval"]),
            *map(_number, of["halves"]), _number(of["after_first"]), _share(of["zero_edit"]), _share(of["kept"]),
            _share(of["kept_test_only"]),
        )
        for arm, of in summary["arms"].items()
    ]  # fmt: skip


def _spent_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            arm, _pair(of["answer_in"], of["answer_out"]), _pair(of["learner_in"], of["learner_out"]),
            _number(of["answer_seconds"]), _number(of["learn_seconds"]),
        )
        for arm, of in summary["arms"].items()
    ]  # fmt: skip


def _goal_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    met = {None: "not measured", True: "yes", False: "no"}
    return [
        (g["what"], g["goal"], "-" if g["figure"] is None else f"{g['figure']:.3f}", met[g["met"]])
        for g in summary["goals"]
    ]


def _adapters(summary: Mapping[str, Any]) -> list[str]:
    """What became of each adapter, in the gate's words."""
    found = []
    for one in summary["adapters"]:
        said = one["report"].get("sentence", one["state"])
        found.append(f"User {one['seed']}, after {one['round']} rounds, in {one['seconds']:.0f} s: {said}")
    return found


def _partial(summary: Mapping[str, Any]) -> str:
    return f"This run is not finished: {summary['rounds_played']} rounds were played, and unfinished arms say so."


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 4) if values else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _span(interval: Sequence[float] | None) -> str:
    return "one user" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _pair(one: float | None, other: float | None) -> str:
    return "-" if one is None or other is None else f"{one:,.0f} / {other:,.0f}"
