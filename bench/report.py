"""What every benchmark ends with: its figures as JSON, as tables on the terminal, and in a document."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from bench.servers import ROOT

DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head, both in Markdown. ``rule`` aligns the columns."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    rule: str = "---"

    def markdown(self) -> str:
        """As a document has it."""
        lines = [f"| {' | '.join(cells)} |" for cells in (self.head, [self.rule] * len(self.head), *self.rows)]
        return "\n".join([f"{self.title}:", "", *lines] if self.title else lines)

    def shown(self) -> RichTable:
        """As a terminal shows it."""
        table = RichTable(title=self.title or None, title_justify="left")
        for number, name in enumerate(self.head):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(cell.replace("`", "") for cell in row))
        return table


Part = Table | str
"""A table, or a paragraph."""


def where(result: Mapping[str, Any]) -> str:
    """When, at which commit and on what a result was measured."""
    machine = result["machine"]
    gpu = f"one {machine['accelerator']}, " if machine.get("accelerator") else ""
    after = f", {machine['load_average_1m_after']} after" if "load_average_1m_after" in machine else ""
    return (
        f"{result['date']}, commit {result['commit']}, {gpu}{machine['cores']} cores of {machine['processor']} "
        f"(load {machine['load_average_1m']} before the run{after})"
    )


def markdown(parts: Sequence[Part]) -> str:
    """The parts of a report as a document has them."""
    return "\n\n".join(part if isinstance(part, str) else part.markdown() for part in parts)


def put(document: Path, mark: str, content: str) -> None:
    """Put ``content`` between the marks of that name in a document. Raises ``ValueError`` where it lacks them."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, begun, rest = document.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"{document} has no {begin} and {end}.")
    document.write_text(f"{before}{begin}\n{content}\n{end}{after}")


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write the figures as JSON, and say where they are."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    Console().print(f"Figures in {out}.", style="dim", highlight=False)


def show(parts: Sequence[Part], console: Console) -> None:
    """Print the parts of a report, less its pictures."""
    for part in parts:
        if isinstance(part, str) and part.startswith("!["):
            continue
        console.print(part if isinstance(part, str) else part.shown(), highlight=False, markup=False)


def conclude(result: Mapping[str, Any], out: Path, parts: Sequence[Part], document: Path | None, mark: str) -> None:
    """Print a report, write its figures, and put it between the marks of a document, if there is one."""
    show(parts, Console())
    write(result, out)
    if document is not None:
        put(document, mark, markdown(parts))
        Console().print(f"{document} is rewritten.", style="dim", highlight=False)


@contextmanager
def axes(path: Path, columns: int = 1, *, figsize: tuple[float, float], dpi: int = 130) -> Iterator[Any]:
    """The axes of a new plot, which is written to ``path`` afterwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, columns, figsize=figsize)
    yield places
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)


def progress(console: Console) -> Progress:
    """Bars with a text, what is done of how much, and times."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


@contextmanager
def bar(console: Console, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """One bar; call it with the steps that were taken."""
    with progress(console) as bars:
        yield partial(bars.advance, bars.add_task(title, total=total))
