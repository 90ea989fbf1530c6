"""What a run of training's benchmark says: the JSON, the table, and its place in `docs/training.md`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import ROOT

GOAL, AT = 4.0, 16
"""How many times the throughput of one after another, with how many users."""
GOAL_DIFFERENCE = 1e-3
DOCS = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- bench-training -->", "<!-- /bench-training -->"
MEASURES = {
    "step": "steps",
    "step_processor": "steps, processor",
    "end_to_end": "end to end",
    "end_to_end_processor": "end to end, processor",
}


def result(found: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run: the figures that matter first, then all there are."""
    at = found["together"].get(AT, {"speedup": {}})["speedup"]
    return {
        "batched_training_speedup_16": at.get("step"),
        "batched_training_processor_speedup_16": at.get("step_processor"),
        "batched_training_end_to_end_speedup_16": at.get("end_to_end"),
        "batched_training_end_to_end_processor_speedup_16": at.get("end_to_end_processor"),
        "batched_training_max_loss_difference": found["max_loss_difference"],
        "goal_speedup": GOAL,
        "goal_max_loss_difference": GOAL_DIFFERENCE,
        **found,
        **about,
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the figures as a table."""
    head, rows = _table(result)
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(_losses(result), highlight=False)


def write_docs(result: Mapping[str, Any], docs: Path = DOCS) -> None:
    """Put the table of ``result`` between the marks in ``docs``."""
    before, rest = docs.read_text().split(BEGIN)
    docs.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{rest.split(END)[1]}")


def markdown(result: Mapping[str, Any]) -> str:
    """The table of ``result``, what it was measured on, and the losses."""
    machine, versions = result["machine"], result["versions"]
    head, rows = _table(result)
    return "\n".join(
        [
            f"{result['date']}, commit {result['commit']}, {machine['cores']} cores of {machine['processor']} (load "
            f"{machine['load_average_1m']} before the run, {machine['load_average_1m_after']} after), torch "
            f"{versions['torch']}; threads: {result['threads']}, rows a step: {result['batch_size']}, "
            f"steps of each user: {'-'.join(map(str, dict.fromkeys(result['steps_each'])))}.",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)),
            "",
            _losses(result),
        ]
    )


def _losses(result: Mapping[str, Any]) -> str:
    return (
        f"Largest difference of a loss to one by one, over {result['loss_steps_compared']} steps: "
        f"{result['max_loss_difference']:.1e}."
    )


def _table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Milliseconds for a step of a user, and how many times as fast as one after another, by each measure."""
    alone = ["one after another", *(f"{result['alone_milliseconds'][name]:.0f} ms" for name in MEASURES)]
    rows = [
        [
            f"{count} at once",
            *(f"{row['milliseconds'][name]:.0f} ms, {row['speedup'][name]:.1f}×" for name in MEASURES),
        ]
        for count, row in result["together"].items()
    ]
    return ["for one step of one user", *MEASURES.values()], [alone, *rows]
