"""What a run of recall's benchmark says: the JSON, and the tables of `docs/recall.md`."""

from collections.abc import Mapping
from typing import Any

from bench import machine
from lab import report
from lab.report import Report, Table

GOAL_US = 50
"""Of p99, without embedding."""
DOCS = report.DOCS / "recall.md"
MARK = "bench-recall"
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


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run: what it was measured on, and the tables."""
    default = result["default_capacity"]
    shares = {"miss": default["share_of_misses"], "hit": 1 - default["share_of_misses"]}
    misses = [
        [label, f"{shares[kind]:.1%}", *_times(default[kind])]
        for label, kind in (("in memory", "hit"), ("loaded from rows", "miss"))
    ]
    changes = [
        [f"{INDEXES[name]}, {what}", *_times(figures)]
        for name, kinds in result["changes"].items()
        for what, figures in kinds.items()
    ]
    times = [column.replace("_us", ", µs") for column in COLUMNS]
    searches = [_searches(result, name) for name in ARMS]
    capacity = f"Users at random, default capacity of {default['capacity_vectors']:,} vectors"
    return [
        f"{machine.where(result)}; faiss {result['versions']['faiss']}. {result['rows']:,} rows of {result['users']:,} "
        f"users, {result['database_mb']:,.0f} MB in SQLite; k = {result['k']}.",
        Table(["", *times, "CPU p99", "ratio", "found", "MB"], searches, "In memory"),
        Table(["", "share", *times], misses, capacity),
        Table(["", *times], changes, "After a change of one row"),
    ]


def _searches(result: Mapping[str, Any], name: str) -> list[str]:
    """The row of an arm."""
    figures, ratios, found = result["arms"][name]["median"], result["p99_ratio_vs_shared"], result["found"]
    memory = "recall, default capacity" if name == "recall, few users" else name.partition(",")[0]
    return [
        ARMS[name], *_times(figures), _number(figures["cpu_p99_us"]),
        f"{ratios[name]:.3g}" if name in ratios else "", f"{found[name]:.3f}" if name in found else "",
        _number(result["memory_mb"][memory]),
    ]  # fmt: skip


def _times(figures: Mapping[str, float]) -> list[str]:
    return [_number(figures.get(column, 0)) for column in COLUMNS]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
