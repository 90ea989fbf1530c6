"""What `attune lab recall` says."""

from collections.abc import Mapping
from typing import Any

from lab.report import Report, Table, short

MARK = "lab-recall"
COLUMNS = {
    "recall": "recall",
    "precision_same": "precision, same",
    "precision": "precision, all",
    "f1": "F1",
    "near_misses": "near misses",
    "misled": "misled",
    "applied": "applied",
    "mrr": "MRR",
}
EVERYDAY = {
    "same": "one user a case: same kind",
    "other": "other",
    "together_same": "all of one user: same kind",
    "together_other": "other",
}
_OF = ("recall", "precision", "f1")  # what is said of a setting
_SHOWN = 8  # of the settings that are best on dev


def report(result: Mapping[str, Any]) -> Report:
    """What was measured, and the figures."""
    setting, sweep = result["setting"], result["sweep"]
    groups = result["users"] | {f"all of {split}": result[split] | {"split": split} for split in ("dev", "test")}
    by_user = [[name, found["split"], *_cells(found)] for name, found in groups.items()]
    usual = {(s["k"], s["alike"]): s["dev"] for s in sweep if s["spread"] == setting["spread"]}
    ks, likes = (sorted({key[i] for key in usual}) for i in (0, 1))
    grid = [
        [str(alike), *(f"{usual[k, alike]['recall']:.2f} / {usual[k, alike]['precision']:.2f}" for k in ks)]
        for alike in likes
    ]
    best = [
        [str(s[name]) for name in ("k", "alike", "spread")]
        + [f"{s[split][name]:.2f}" for split in ("dev", "test") for name in _OF]
        for s in sorted(sweep, key=lambda s: -s["dev"]["f1"])[:_SHOWN]
    ]
    cases = [
        [split, str(found["cases"]), *(f"{found[name]:.2f}" for name in EVERYDAY)]
        for split, found in result["everyday"].items()
    ]
    told = result["stated"]
    stated = [[str(told["stated"]), f"{told['by_likeness']:.2f}", f"{told['by_age']:.2f}"]] if told else []
    named = f"k = {setting['k']}, alike = {setting['alike']}, spread = {setting['spread']}"
    tables = (
        Table(["user", "part", *COLUMNS.values()], by_user, f"The server's settings ({named})", texts=2),
        Table(
            ["alike", *(f"k = {k}" for k in ks)], grid, f"Dev, spread = {setting['spread']}, recall / precision, all"
        ),
        Table(
            ["k", "alike", "spread", *(f"{split} {COLUMNS[c]}" for split in ("dev", "test") for c in _OF)],
            best,
            "The settings with the best F1 on dev",
        ),
        Table(["part", "cases", *EVERYDAY.values()], cases, "Everyday cases"),
        Table(["stated", "came", "by age alone"], stated, "Stated for everywhere, more than fits"),
    )
    what = f"{result['embedder']}, {result['situations']} situations of {len(result['users'])} users"
    return [f"{result['date']}, commit {short(result['commit'])}: {what}.", *(table for table in tables if table.rows)]


def _cells(found: Mapping[str, Any]) -> list[str]:
    return [f"{found[name]:.2f}" if name in found else "" for name in COLUMNS]
