"""What a run of training's benchmark says: the JSON, and the tables of `docs/training.md`."""

from collections.abc import Mapping
from typing import Any

from bench import machine
from lab import report
from lab.report import Report, Table

GOAL, AT = 4.0, 16
"""How many times the throughput of one after another, with how many users."""
GOAL_DIFFERENCE = 1e-3
DOCS = report.DOCS / "training.md"
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


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run: what it was measured on, the tables, and the losses between them."""
    gib = result["activation_gib"]
    return [
        f"{machine.where(result)}, torch {result['versions']['torch']}; model: {result['model']}, threads: "
        f"{result['threads']}, rows a step: {result['batch_size']}, steps of each user: "
        f"{'-'.join(map(str, dict.fromkeys(result['steps_each'])))}, "
        f"activations: {f'{gib:g} GiB' if gib else 'by default'}.",
        _table(result),
        f"Largest difference of a loss to one by one, over {result['loss_steps_compared']} steps: "
        f"{result['max_loss_difference']:.1e}.",
    ]


def mark(result: Mapping[str, Any]) -> str:
    """Where its report stands in the document: a GPU has a place of its own."""
    return f"bench-training{'-gpu' if result['machine']['accelerator'] else ''}"


def _table(result: Mapping[str, Any]) -> Table:
    """Milliseconds for a step of a user, and how many times as fast as one after another, by each measure."""
    alone = [
        "one after another",
        *(f"{result['alone_milliseconds'][name]:.0f} ms" for name in MEASURES),
        f"{result['alone_peak_gib']:.1f} GiB",
    ]
    rows = [
        [
            f"{count} at once",
            *(f"{row['milliseconds'][name]:.0f} ms, {row['speedup'][name]:.1f}×" for name in MEASURES),
            f"{row['peak_gib']:.1f} GiB",
        ]
        for count, row in result["together"].items()
    ]
    return Table(["for one step of one user", *MEASURES.values(), "most memory"], [alone, *rows])
