"""What a run of recall's benchmark says: the JSON, the table, and its place in `docs/recall.md`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import ROOT

GOAL_US = 50
"""Of p99, without embedding."""
DOCS = ROOT / "docs" / "recall.md"
BEGIN, END = "<!-- bench-recall -->", "<!-- /bench-recall -->"
ARMS = {
    "recall": "recall, all users",
    "recall, few users": "recall, default capacity",
    "flat, range": "shared flat, range",
    "flat, batch": "shared flat, set",
    "ivf, range": "shared IVF, range",
    "ivf, batch": "shared IVF, set",
}
INDEXES = {"recall": "recall", "flat": "shared flat", "ivf": "shared IVF"}
COLUMNS = ("p50_us", "p99_us", "max_us")


def result(found: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a run: the figures that matter first, then all there are."""
    p99 = {name: arm["median"]["p99_us"] for name, arm in found["arms"].items()}
    return {
        "recall_p50_us": found["arms"]["recall"]["median"]["p50_us"],
        "recall_p99_us": p99["recall"],
        "recall_cpu_p99_us": found["arms"]["recall"]["median"]["cpu_p99_us"],
        "goal_p99_us": GOAL_US,
        "goal_met": p99["recall"] <= GOAL_US,
        "p99_ratio_vs_shared": {
            name: round(p99["recall"] / value, 4) for name, value in p99.items() if not name.startswith("recall")
        },
        **found,
        **about,
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the figures as tables."""
    for title, head, rows in _tables(result):
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    met = "met" if result["goal_met"] else "missed"
    console.print(f"p99 {result['recall_p99_us']} µs, goal {GOAL_US} µs: {met}", highlight=False)


def write_docs(result: Mapping[str, Any], docs: Path = DOCS) -> None:
    """Put the tables of ``result`` between the marks in ``docs``."""
    before, rest = docs.read_text().split(BEGIN)
    docs.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{rest.split(END)[1]}")


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of ``result``."""
    machine = result["machine"]
    lines = [
        f"{result['date']}, commit {result['commit']}, {machine['cores']} cores of {machine['processor']} (load "
        f"{machine['load_average_1m']} before the run, {machine['load_average_1m_after']} after); faiss "
        f"{result['versions']['faiss']}. {result['rows']:,} rows of {result['users']:,} users, "
        f"{result['database_mb']:,.0f} MB in SQLite; k = {result['k']}.",
    ]
    for title, head, rows in _tables(result):
        lines += ["", f"{title}:", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _tables(result: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table."""
    arms, memory, found = result["arms"], result["memory_mb"], result["found"]
    ratios = result["p99_ratio_vs_shared"]
    searches = [
        [
            label,
            *(_number(arms[name]["median"][column]) for column in (*COLUMNS, "cpu_p99_us")),
            f"{ratios[name]:.3g}" if name in ratios else "",
            f"{found[name]:.3f}" if name in found else "",
            _number(memory["recall, default capacity" if name == "recall, few users" else name.partition(",")[0]]),
        ]
        for name, label in ARMS.items()
    ]
    default = result["default_capacity"]
    misses = [
        [label, f"{share:.1%}", *(_number(default[kind].get(column, 0)) for column in COLUMNS)]
        for label, kind, share in (
            ("in memory", "hit", 1 - default["share_of_misses"]),
            ("loaded from rows", "miss", default["share_of_misses"]),
        )
    ]
    changes = [
        [f"{INDEXES[name]}, {what}",
         *(_number(figures[column]) for column in COLUMNS)]
        for name, kinds in result["changes"].items()
        for what, figures in kinds.items()
    ]  # fmt: skip
    times = [column.replace("_us", ", µs") for column in COLUMNS]
    return [
        ("In memory", ["", *times, "CPU p99", "ratio", "found", "MB"], searches),
        (
            f"Users at random, default capacity of {default['capacity_vectors']:,} vectors",
            ["", "share", *times],
            misses,
        ),
        ("After a change of one row", ["", *times], changes),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
