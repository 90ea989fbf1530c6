"""What `attune lab writers` says: a row for each kind of what was learned, a plot, and who could fool it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OPEN, CLOSE = "<!-- bench-writers -->", "<!-- /bench-writers -->"
HEAD = ("learned", "tokens", "own − other", "95% interval", "by chance", "drafts above 0", "own − nothing")
_TOKENS = {"all_tokens": "all", "changed_tokens": "changed"}


def rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table: all writers, then each."""
    found: list[tuple[str, ...]] = []
    for kind, of in told["kinds"].items():
        for part, label in _TOKENS.items():
            figures = of[part]
            whole = figures["own_minus_other"]
            found.append(
                (
                    kind, label, _nats(whole["mean"]), _span(whole), f"{figures['p']:.3f}",
                    f"{figures['drafts_above_0']:.0%}", _nats(figures["own"]["mean"]),
                )
            )  # fmt: skip
        for writer, one in of["all_tokens"]["by_writer"].items():
            found.append((f"{kind} of {writer}", "all", _nats(one["mean"]), _span(one), "", "", ""))
    return found


def show(told: Mapping[str, Any], console: Console) -> None:
    """Print the table."""
    table = Table(*HEAD, title="Nats a token by which a text is likelier, relative to its draft")
    for row in rows(told):
        table.add_row(*row)
    console.print(table)
    for line in sentences(told):
        console.print(line)


def sentences(told: Mapping[str, Any]) -> list[str]:
    """What a table does not say."""
    said = []
    preferences = told["kinds"].get("preferences")
    if preferences is not None:
        counts = ", ".join(f"{writer} {n}" for writer, n in preferences["held"].items())
        said.append(
            f"Preferences were scored by {preferences['scorer']}. Held after {told['learned']} edits: {counts}; "
            f"{preferences['recalled']:.1f} of them come with a test request. A constant list gains "
            f"{_nats(preferences['constant_list_gain']['mean'])}, on every "
            "writer alike, so that its own − other is 0."
        )
    adapters = told["kinds"].get("adapters")
    if adapters is not None:
        training = next(iter(adapters["training"].values()))
        seconds = max(one["seconds"] for one in adapters["training"].values())
        said.append(
            f"Adapters of {adapters['scorer']}, which scored them: {training['rows']} rows and {training['steps']} "
            f"steps each, at a rate of {training['learning_rate']:g}, all in {seconds:.0f} s and "
            f"{training['peak_gib']} GiB."
        )
    return said


def write(told: Mapping[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown(told: Mapping[str, Any]) -> str:
    """The table for docs/benchmark.md."""
    lines = [f"| {' | '.join(HEAD)} |", f"|---|---|{'---:|' * (len(HEAD) - 2)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(told)]
    return "\n".join([*lines, "", *sentences(told)])


def plot(told: Mapping[str, Any], path: Path) -> None:
    """Draw own minus other with its interval: of all writers, and of each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for kind in told["kinds"] for row in _points(kind, told["kinds"][kind]["all_tokens"])][::-1]
    figure, axes = pyplot.subplots(figsize=(7, 0.45 * len(shown) + 1.2))
    for at, (label, one) in enumerate(shown):
        bold = " of " not in label
        axes.plot(one["interval"], [at, at], color="tab:blue" if bold else "0.6", linewidth=2 if bold else 1)
        axes.plot(one["mean"], at, "o", color="tab:blue" if bold else "0.6")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown])
    axes.set_xlabel("own − other, nats a token (95% interval over drafts)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _points(kind: str, figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    of_each = [(f"{kind} of {writer}", one) for writer, one in figures["by_writer"].items()]
    return [(kind, figures["own_minus_other"]), *of_each]


def _nats(value: float) -> str:
    return f"{value:+.4f}"


def _span(one: Mapping[str, Any]) -> str:
    return f"[{one['interval'][0]:+.4f}, {one['interval'][1]:+.4f}]"
