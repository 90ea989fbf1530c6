"""What a report is made of: sentences and tables, for a terminal and for a document, and figures as JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.table
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True)
class Table:
    """Cells in Markdown. ``texts`` of the columns, on the left, are words; the others are figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    texts: int = 1

    def shown(self) -> rich.table.Table:
        """The table for a terminal."""
        made = rich.table.Table(title=self.title or None, title_justify="left")
        for at, name in enumerate(self.head):
            # What tells two rows apart is often at the end of their names.
            justify: Any = "left" if at < self.texts else "right"
            made.add_column(name, justify=justify, min_width=0 if at else 12, overflow="fold")
        for row in self.rows:
            made.add_row(*(Text(cell.replace("`", "")) for cell in row))
        return made

    def markdown(self) -> str:
        """The table for a document."""
        title = [f"{self.title}:", ""] if self.title else []
        under = f"|{'---|' * self.texts}{'---:|' * (len(self.head) - self.texts)}"
        head, *rows = (f"| {' | '.join(cells)} |" for cells in (self.head, *self.rows))
        return "\n".join([*title, head, under, *rows])


Report = Sequence[str | Table]
"""A sentence may be a picture of a document, which a terminal does not show."""


def picture(caption: str, path: Path) -> str:
    """A picture below ``DOCS``, in a document there."""
    return f"![{caption}]({path.relative_to(DOCS).as_posix()})"


def show(report: Report, console: Console) -> None:
    """Print a report."""
    for block in report:
        if isinstance(block, Table):
            console.print(block.shown())
        elif not block.startswith("!["):
            console.print(Text(block))


def markdown(report: Report) -> str:
    """A report for a document."""
    return "\n\n".join(block.markdown() if isinstance(block, Table) else block for block in report)


def about_line(about: Mapping[str, Any]) -> str:
    """What ``provenance.about`` says, as a sentence: model, engine, machine, commit, date and command."""
    machine = about["machine"]
    where = ", ".join([*machine["accelerators"], f"{machine['cores']} cores of {machine['processor']}"])
    return (
        f"Model {about['model']} on vLLM {machine['vllm']}, {where}; "
        f"commit {short(about['commit'])}, {about['date']}: `{about['command']}`"
    )


def short(commit: str) -> str:
    """A commit in few characters, and whether files differed from it."""
    name, dash, changed = commit.partition("-")
    return f"{name[:12]}{dash}{changed}"


def write(figures: Mapping[str, Any], path: Path) -> None:
    """Write figures as JSON, and say where they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    Console(stderr=True).print(f"Figures in {path}.", style="dim", highlight=False)


def put(path: Path, name: str, content: str) -> None:
    """Put ``content`` between the marks of ``name`` in a document. Raises ``ValueError`` where it has no such marks."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, opened, rest = path.read_text(encoding="utf-8").partition(opening)
    _, closed, after = rest.partition(closing)
    if not (opened and closed):
        raise ValueError(f"{path} has no {opening} and {closing}.")
    path.write_text(f"{before}{opening}\n{content}\n{closing}{after}", encoding="utf-8")


def conclude(
    figures: Mapping[str, Any],
    report: Report,
    files: Iterable[Path | None],
    document: Path | None = None,
    name: str = "",
) -> None:
    """Print a report, write its figures to ``files``, and put it between the marks of a document, if there is one."""
    show(report, Console())
    for file in filter(None, files):
        write(figures, file)
    if document is not None:
        put(document, name, markdown(report))


@contextmanager
def axes(path: Path, rows: int = 1, columns: int = 1, **more: Any) -> Iterator[Any]:
    """The axes of a new plot, ``more`` of which pyplot knows, which is written to ``path`` afterwards."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(rows, columns, layout="tight", **more)
    yield places
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


Cell = Callable[[Mapping[str, Any]], str]
"""What a column shows of a row's figures."""


def number(value: float | None, digits: int = 0) -> str:
    """A figure; "-" where it is not known."""
    return "-" if value is None else f"{value:,.{digits}f}"


def number_of(name: str, digits: int = 0) -> Cell:
    """The figure of that name."""
    return lambda figures: number(figures[name], digits)


def share_of(name: str) -> Cell:
    """The share of that name, in percent."""
    return lambda figures: "-" if figures[name] is None else f"{figures[name]:.0%}"
