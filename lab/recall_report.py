"""What `attune lab recall` says: the tables, and their place in `docs/recall.md`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

DOCS = Path(__file__).resolve().parent.parent / "docs" / "recall.md"
BEGIN, END = "<!-- lab-recall -->", "<!-- /lab-recall -->"
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


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the figures as tables."""
    for title, head, rows in _tables(result):
        table = Table(*head, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def write_docs(result: Mapping[str, Any], docs: Path = DOCS) -> None:
    """Put the tables of ``result`` between the marks in ``docs``."""
    before, rest = docs.read_text().split(BEGIN)
    docs.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{rest.split(END)[1]}")


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of ``result``."""
    what = f"{result['embedder']}, {result['situations']} situations of {len(result['users'])} users"
    lines = [f"{result['date']}, commit {result['commit'][:7]}: {what}."]
    for title, head, rows in _tables(result):
        lines += ["", f"{title}:", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _tables(result: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table."""
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
    more = []
    if cases:
        more.append(("Everyday cases", ["part", "cases", *EVERYDAY.values()], cases))
    if told:
        cells = [str(told["stated"]), f"{told['by_likeness']:.2f}", f"{told['by_age']:.2f}"]
        more.append(("Stated for everywhere, more than fits", ["stated", "came", "by age alone"], [cells]))
    named = f"k = {setting['k']}, alike = {setting['alike']}, spread = {setting['spread']}"
    return [
        (f"The server's settings ({named})", ["user", "part", *COLUMNS.values()], by_user),
        (f"Dev, spread = {setting['spread']}, recall / precision, all", ["alike", *(f"k = {k}" for k in ks)], grid),
        (
            "The settings with the best F1 on dev",
            ["k", "alike", "spread", *(f"{split} {COLUMNS[c]}" for split in ("dev", "test") for c in _OF)],
            best,
        ),
        *more,
    ]


def _cells(found: Mapping[str, Any]) -> list[str]:
    return [f"{found[name]:.2f}" if name in found else "" for name in COLUMNS]
