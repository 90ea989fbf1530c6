"""What a run of training's benchmark says: the JSON, the table, and its place in `docs/training.md`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import ROOT

GOAL, AT = 4.0, 16
"""How many times the throughput of one after another, with how many users."""
GOAL_DIFFERENCE = 1e-3
DOCS = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- bench-training{} -->", "<!-- /bench-training{} -->"
"""Of the bundled model's table, and of the one on a GPU."""
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
    if "recipes" in result:
        head, rows = _recipes(result)
        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        console.print(table)


def write_docs(result: Mapping[str, Any], docs: Path = DOCS) -> None:
    """Put the table of ``result`` between the marks in ``docs``."""
    where = "-gpu" if result["machine"]["accelerator"] else ""
    begin, end = BEGIN.format(where), END.format(where)
    before, rest = docs.read_text().split(begin)
    docs.write_text(f"{before}{begin}\n{markdown(result)}\n{end}{rest.split(end)[1]}")


def markdown(result: Mapping[str, Any]) -> str:
    """The table of ``result``, what it was measured on, and the losses."""
    machine, versions = result["machine"], result["versions"]
    gpu = f"one {machine['accelerator']}, " if machine["accelerator"] else ""
    lines = [
        f"{result['date']}, commit {result['commit']}, {gpu}{machine['cores']} cores of {machine['processor']} (load "
        f"{machine['load_average_1m']} before the run, {machine['load_average_1m_after']} after), torch "
        f"{versions['torch']}; model: {result['model']}, threads: {result['threads']}, rows a step: "
        f"{result['batch_size']}, steps of each user: {'-'.join(map(str, dict.fromkeys(result['steps_each'])))}, "
        f"activations: {f'{gib:g} GiB' if (gib := result['activation_gib']) else 'by default'}.",
        "",
        *_lines(*_table(result)),
        "",
        _losses(result),
    ]
    return "\n".join([*lines, "", *_lines(*_recipes(result))] if "recipes" in result else lines)


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _losses(result: Mapping[str, Any]) -> str:
    return (
        f"Largest difference of a loss to one by one, over {result['loss_steps_compared']} steps: "
        f"{result['max_loss_difference']:.1e}."
    )


def _table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
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
    return ["for one step of one user", *MEASURES.values(), "most memory"], [alone, *rows]


def _recipes(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Each recipe for one user alone: milliseconds for a step, seconds in all, the most memory."""
    rows = [
        [name, f"{row['step_milliseconds']:.0f} ms", f"{row['seconds']:.1f} s", f"{row['peak_gib']:.1f} GiB"]
        for name, row in result["recipes"].items()
    ]
    return ["one user by", "a step", "in all", "most memory"], rows
