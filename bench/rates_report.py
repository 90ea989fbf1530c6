"""What `make bench-rates` says: a row for each way to train, over users, and its place in docs/training.md."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lab import report
from lab.report import Report, Table

HEAD = ("edits", "rate", "epochs", "rank", "steps", "tokens", "likelier, nats a token", "lead over the draft grows by")
DOCS = report.DOCS / "training.md"
MARK = "bench-rates"


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


def parts(result: Mapping[str, Any]) -> Report:
    """The report of a run: what it was measured on, the table, and what training cost."""
    users = len({one["user"] for one in result["trials"]})
    of = f"commit {result['commit']}, users: {users}, later edits of each: {result['tested']}"
    return [f"{result['model']}, {of}.", Table(HEAD, rows(result), texts=0), costs(result)]


def _mean(of: Sequence[Mapping[str, Any]], name: str) -> str:
    each = ", ".join(f"{one[name]:+.3f}" for one in of) if len(of) > 1 else ""
    spans = f" ({each})" if each else f" [{of[0][f'{name}_interval'][0]:+.3f}, {of[0][f'{name}_interval'][1]:+.3f}]"
    return f"{fmean(one[name] for one in of):+.3f}{spans}"
