"""What `make bench-rates` says: a row for each way to train, over users, and its place in docs/training.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import ROOT

HEAD = ("edits", "rate", "epochs", "rank", "steps", "tokens", "likelier, nats a token", "lead over the draft grows by")
DOCS = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- bench-rates -->", "<!-- /bench-rates -->"


def rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each number of edits, rate, epochs and rank: means over users, with each user's where there are few."""
    ways: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for one in result["trials"]:
        ways.setdefault((one["edits"], one["rate"], one["epochs"], one["rank"]), []).append(one)
    return [
        (
            str(edits), f"{rate:g}", f"{epochs:g}", str(rank), f"{fmean(one['steps'] for one in of):.0f}",
            f"{fmean(one['tokens'] for one in of):,.0f}", _mean(of, "likelier"), _mean(of, "lead"),
        )
        for (edits, rate, epochs, rank), of in sorted(ways.items())
    ]  # fmt: skip


def costs(result: Mapping[str, Any]) -> str:
    """What training cost: adapters of one rank were trained in one program."""
    said = []
    for rank in dict.fromkeys(one["rank"] for one in result["trials"]):
        of = [one for one in result["trials"] if one["rank"] == rank]
        seconds, gib = (max(one[name] for one in of) for name in ("seconds", "peak_gib"))
        said.append(f"{len(of)} adapters of rank {rank} took {seconds:.0f} s together, and {gib} GiB at most.")
    return " ".join(said)


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print the table."""
    table = Table(*HEAD, title=f"{result['model']}: later edits of the same users, against the base model")
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    console.print(costs(result))


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def write_docs(result: Mapping[str, Any]) -> None:
    """Put the table between the markers of docs/training.md."""
    text = DOCS.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    DOCS.write_text(f"{before}{BEGIN}\n{markdown(result)}\n{END}{after}")


def markdown(result: Mapping[str, Any]) -> str:
    """The table as Markdown, with where it is of."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---:|' * len(HEAD)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(result)]
    users = len({one["user"] for one in result["trials"]})
    commit = str(result["commit"])[:12]
    where = f"{result['model']}, commit {commit}, users: {users}, later edits of each: {result['tested']}"
    return "\n".join([f"{where}.", "", *lines, "", costs(result)])


def _mean(of: Sequence[Mapping[str, Any]], name: str) -> str:
    each = ", ".join(f"{one[name]:+.3f}" for one in of) if len(of) > 1 else ""
    spans = f" ({each})" if each else f" [{of[0][f'{name}_interval'][0]:+.3f}, {of[0][f'{name}_interval'][1]:+.3f}]"
    return f"{fmean(one[name] for one in of):+.3f}{spans}"
