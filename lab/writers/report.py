"""What `attune lab writers` says: a row for each kind of what was learned, and what a table does not say."""

from collections.abc import Mapping
from typing import Any

from lab.report import Report, Table

MARK = "bench-writers"
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


def _nats(value: float) -> str:
    return f"{value:+.4f}"


def _span(one: Mapping[str, Any]) -> str:
    return f"[{one['interval'][0]:+.4f}, {one['interval'][1]:+.4f}]"
