"""What people read of a run: the JSON, tables for a terminal and for docs/benchmark.md."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lab.prelude import figures
from lab.prelude.accuracy import Accuracy
from lab.prelude.faultless import faultless
from lab.prelude.goals import goals
from lab.prelude.log import Line
from preference.ports import Embedder

ARMS = (
    "none", "oracle", "explore-then-exploit", "continual", "icl-edit-1", "icl-edit-5", "cot-edit", "cipher-1",
    "cipher-5", "constant", "attune", "attune+adapter",
)  # fmt: skip
"""In the order in which they are shown; others come after."""
OPEN, CLOSE = "<!-- bench-prelude -->", "<!-- /bench-prelude -->"
_CAPTIONS = {
    "cumulative": "Cumulative edit cost by round, of all arms and of those that the goals are about",
    "zero-edit": "Share of drafts that need no edit",
    "drift": "Edit cost of the changed kind, around its change",
}


@dataclass(frozen=True)
class _Section:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def in_order(arms: Iterable[str]) -> list[str]:
    """Arms as they are shown."""
    return sorted(arms, key=lambda arm: (ARMS.index(arm) if arm in ARMS else len(ARMS), arm))


def summarise(
    lines: Sequence[Line], embedder: Embedder | None = None, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All figures of a log, also of an unfinished run; without ``embedder`` no preference accuracy.

    ``environments`` has those of the plain variant, each other variant its own; ``faultless`` of an environment is
    what a faultless learner pays. ``about`` is what ``machine.about`` says, and goes along as it is.
    """
    accuracy = Accuracy(embedder, lines) if embedder else None
    chains = figures.chains(lines)
    parts: dict[str, dict[str, Any]] = {"plain": {}, "drift": {}, "noise": {}, "habit": {}}
    for variant, environment, arm in sorted(chains, key=lambda key: in_order(ARMS + key[2:]).index(key[2])):
        played = chains[variant, environment, arm]
        held = figures.arm_figures(played, accuracy)
        if variant == "drift":
            held |= figures.drift_figures(played)
        if variant == "noise":
            times = figures.ratio(played, chains.get(("plain", environment, arm), ()))
            held["loss_percent"] = None if times is None else round(100 * (times - 1), 1)
        if environment not in parts[variant]:
            parts[variant][environment] = {"arms": {}, "faultless": faultless(played)}
        parts[variant][environment]["arms"][arm] = held
    summary = {"environments": parts.pop("plain"), **parts}
    every = [arm for part in summary.values() for environment in part.values() for arm in environment["arms"].values()]
    return {
        **summary,
        "goals": goals(chains, summary),
        "partial": any(arm["partial"] for arm in every),
        "rounds_played": len(lines),
        **(about or {}),
    }


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def table(summary: Mapping[str, Any]) -> Group:
    """The tables for a terminal."""
    made: list[Table | Text] = [Text(_partial(summary), style="yellow")] if summary["partial"] else []
    for section in _sections(summary):
        shown = Table(title=section.title, title_justify="left")
        for i, name in enumerate(section.head):
            # The kind of feedback is at the end of an arm's name.
            shown.add_column(name, justify="right" if i else "left", min_width=0 if i else 12, overflow="fold")
        for row in section.rows:
            shown.add_row(*row)
        made.append(shown)
    return Group(*made)


def markdown(summary: Mapping[str, Any]) -> str:
    """The tables for a document."""
    blocks = [about_line(summary)] if "machine" in summary else []
    blocks += [f"**{_partial(summary)}**"] if summary["partial"] else []
    for section in _sections(summary):
        head = [f"| {' | '.join(section.head)} |", f"|---|{'---:|' * (len(section.head) - 1)}"]
        blocks.append("\n".join([f"{section.title}:", "", *head, *(f"| {' | '.join(row)} |" for row in section.rows)]))
    return "\n\n".join([*blocks, *_adapters(summary)])


def write_docs(summary: Mapping[str, Any], path: Path, plots: Sequence[Path] = ()) -> None:
    """Put the tables and ``plots``, which lie beside or below it, between the markers of a document.

    ``ValueError`` if it has none.
    """
    images = [f"![{_CAPTIONS[plot.stem]}]({plot.relative_to(path.parent).as_posix()})" for plot in plots]
    put(path, OPEN, CLOSE, "\n\n".join([markdown(summary), *images]))


def put(path: Path, opening: str, closing: str, content: str) -> None:
    """Put ``content`` between two markers of a document; ``ValueError`` if it has them not."""
    before, opened, rest = path.read_text().partition(opening)
    _, closed, after = rest.partition(closing)
    if not (opened and closed):
        raise ValueError(f"{path} has no {opening} and {closing}.")
    path.write_text(f"{before}{opening}\n{content}\n{closing}{after}")


def _sections(summary: Mapping[str, Any]) -> list[_Section]:
    made = []
    for part, (title, head, row) in _PARTS.items():
        for environment, held in sorted(summary[part].items()):
            rows = [row(arm, f) for arm, f in held["arms"].items()]
            made.append(_Section(f"{environment}{title}, {_size(held)}{_faultless(held)}", head, rows))
    if summary["goals"]:
        head = ("goal", "environment", "limit", "figure", "met")
        made.append(_Section("Goals", head, [_goal(g) for g in summary["goals"]]))
    return made


def _plain(arm: str, f: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _name(arm, f), *_costs(f), _number(f["first_encounters"]), _share(f["zero_edit"]),
        _share(f["zero_edit_last_quarter"]), _share(f["preference_accuracy"]),
        *(_number(f[f"{whose}_tokens_{way}"]) for whose in ("learner", "answer") for way in ("in", "out")),
        _number(f["rounds_per_second"], 2),
    )  # fmt: skip


def _drift(arm: str, f: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _name(arm, f), *_costs(f), _number(f["cost_after_change"]), _number(f["recovery_rounds_mean"], 1),
        _number(f["recovery_rounds_max"]), str(f["not_recovered"]), _share(f["zero_edit_last_quarter"]),
    )  # fmt: skip


def _noise(arm: str, f: Mapping[str, Any]) -> tuple[str, ...]:
    return _name(arm, f), *_costs(f), _percent(f["loss_percent"]), _share(f["zero_edit_last_quarter"])


def _habit(arm: str, f: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _name(arm, f), *_costs(f), _share(f["zero_edit"]), _share(f["zero_edit_last_quarter"]),
        _number(f["answer_tokens_in"]),
    )  # fmt: skip


_PARTS: dict[str, tuple[str, Sequence[str], Callable[[str, Mapping[str, Any]], tuple[str, ...]]]] = {
    "environments": (
        "",
        ("arm", "cost", "± sd", "first", "zero-edit", "last ¼", "accuracy",
         "learner in", "learner out", "answer in", "answer out", "rounds/s"),
        _plain,
    ),
    "drift": (
        " with drift",
        ("arm", "cost", "± sd", "changed kind, after", "rounds to recover", "slowest", "never", "zero-edit, last ¼"),
        _drift,
    ),
    "noise": (" with noise", ("arm", "cost", "± sd", "above plain", "zero-edit, last ¼"), _noise),
    "habit": (" with a habit", ("arm", "cost", "± sd", "zero-edit", "last ¼", "answer in"), _habit),
}  # fmt: skip


def _goal(goal: Mapping[str, Any]) -> tuple[str, ...]:
    figure = "-" if goal["figure"] is None else f"{goal['figure']:g}"
    if (apart := goal.get("without_first_encounters")) is not None:
        figure += f" ({apart:g} without first encounters)"
    if (above := goal.get("above_faultless")) is not None:
        figure += f" ({above:g} times a faultless learner with this model)"
    if (loss := goal.get("of_faultless")) is not None:
        figure += f" ({loss:g} of a faultless learner)"
    if goal.get("not_recovered"):
        figure += f" ({goal['not_recovered']} never)"
    met = {None: "not measured", True: "yes", False: "no"}[goal["met"]]
    return goal["what"], goal["environment"], goal["goal"], figure, met


def _name(arm: str, f: Mapping[str, Any]) -> str:
    return f"{arm} (unfinished)" if f["partial"] else arm


def _costs(f: Mapping[str, Any]) -> tuple[str, str]:
    return _number(f["cumulative_cost_mean"]), _number(f["cumulative_cost_sd"])


def _size(held: Mapping[str, Any]) -> str:
    seeds = sorted(f["seeds"] for f in held["arms"].values())
    rounds = max(f["rounds"] for f in held["arms"].values())
    range_of = str(seeds[-1]) if seeds[0] == seeds[-1] else f"{seeds[0]} to {seeds[-1]}"
    return f"{rounds} rounds, {range_of} seed{'s' * (seeds[-1] > 1)}"


def _faultless(held: Mapping[str, Any]) -> str:
    return "" if held["faultless"] is None else f" (a faultless learner pays {held['faultless']:,.0f})"


def _partial(summary: Mapping[str, Any]) -> str:
    return f"This run is not finished: {summary['rounds_played']} rounds were played, and unfinished arms say so."


def about_line(summary: Mapping[str, Any]) -> str:
    """Model, engine, machine, commit, date and command, as a sentence."""
    machine = summary["machine"]
    where = ", ".join([*machine["accelerators"], f"{machine['cores']} cores of {machine['processor']}"])
    commit, dash, changed = summary["commit"].partition("-")
    return (
        f"Model {summary['model']} on vLLM {machine['vllm']}, {where}; "
        f"commit {commit[:12]}{dash}{changed}, {summary['date']}: `{summary['command']}`"
    )


def _adapters(summary: Mapping[str, Any]) -> list[str]:
    """What became of the adapters, in a sentence for each environment that has some."""
    told = []
    for part, (title, *_) in _PARTS.items():
        for environment, held in sorted(summary[part].items()):
            states = Counter(_state(a) for f in held["arms"].values() for a in f["adapters"])
            if states:
                counted = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
                told.append(f"Adapters trained for {environment}{title}: {counted}.")
    return told


def _state(adapter: Mapping[str, Any]) -> str:
    state = str(adapter.get("state", "unknown"))
    return f"{state} as {adapter['mode']}" if state == "ready" and adapter.get("mode") else state


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}%"
