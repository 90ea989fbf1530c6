"""What `attune lab writers` says: a row for each kind of what was learned, a plot, and who could fool it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.report import Report, Table

MARK = "bench-writers"
CAPTION = "Own minus other, of each writer"
HEAD = ("learned", "tokens", "own − other", "95% interval", "by chance", "drafts above 0", "own − nothing")
TITLE = "Nats a token by which a text is likelier, relative to its draft"
_TOKENS = {"all_tokens": "all", "changed_tokens": "changed"}


def report(told: Mapping[str, Any]) -> Report:
    """The table: all writers, then each; and what a table does not say."""
    rows: list[tuple[str, ...]] = []
    for kind, of in told["kinds"].items():
        for part, label in _TOKENS.items():
            figures = of[part]
            whole = figures["own_minus_other"]
            rows.append(
                (
                    kind, label, _nats(whole["mean"]), _span(whole), f"{figures['p']:.3f}",
                    f"{figures['drafts_above_0']:.0%}", _nats(figures["own"]["mean"]),
                )
            )  # fmt: skip
        for writer, one in of["all_tokens"]["by_writer"].items():
            rows.append((f"{kind} of {writer}", "all", _nats(one["mean"]), _span(one), "", "", ""))
    return [Table(HEAD, rows, TITLE, texts=2), *_sentences(told)]


def _sentences(told: Mapping[str, Any]) -> list[str]:
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


def plot(told: Mapping[str, Any], path: Path) -> None:
    """Draw own minus other with its interval: of all writers, and of each."""
    from matplotlib.figure import Figure

    shown = [row for kind in told["kinds"] for row in _points(kind, told["kinds"][kind]["all_tokens"])][::-1]
    figure = Figure(figsize=(7, 0.45 * len(shown) + 1.2), layout="tight")
    axes = figure.subplots()
    for at, (label, one) in enumerate(shown):
        bold = " of " not in label
        axes.plot(one["interval"], [at, at], color="tab:blue" if bold else "0.6", linewidth=2 if bold else 1)
        axes.plot(one["mean"], at, "o", color="tab:blue" if bold else "0.6")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(shown)), [label for label, _ in shown])
    axes.set_xlabel("own − other, nats a token (95% interval over drafts)")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _points(kind: str, figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    of_each = [(f"{kind} of {writer}", one) for writer, one in figures["by_writer"].items()]
    return [(kind, figures["own_minus_other"]), *of_each]


def _nats(value: float) -> str:
    return f"{value:+.4f}"


def _span(one: Mapping[str, Any]) -> str:
    return f"[{one['interval'][0]:+.4f}, {one['interval'][1]:+.4f}]"
