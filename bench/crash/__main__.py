"""`python -m bench.crash`: how many acknowledged edits does SIGKILL cost? None, on both stores.

A real server (routes, workers, database, publication) is killed at random and at chosen moments while clients work.
After each kill its rows and folders are compared with what was acknowledged; at the end everything has to be learned.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from bench import machine
from bench.crash.harness import Harness, Outcome
from bench.database import database_url
from lab import report
from lab.progress import bar
from lab.report import Table

ROWS: dict[str, Callable[[Outcome], object]] = {
    "kills": lambda o: o.kills,
    "orderly stops between them": lambda o: o.stops,
    "edits acknowledged": lambda o: o.acknowledged.get("edits", 0),
    "answers given": lambda o: o.acknowledged.get("answers", 0),
    "adapters published": lambda o: o.versions.get("ready", 0) + o.versions.get("deleted", 0),
    "jobs that a kill interrupted": lambda o: o.jobs_taken_over,
    "kills between an adapter's move and its commit": lambda o: o.directories_left_before_the_commit,
    "acknowledged and lost": lambda o: o.lost,
    "doubled effects": lambda o: o.doubled,
    "half-published adapters": lambda o: o.half_published,
    "unexpected answers": lambda o: o.unexpected,
    "not learned at the end": lambda o: o.pending_at_the_end,
    "median start (ms)": lambda o: o.start_ms,
    "seconds": lambda o: o.seconds,
}
"""What a reader wants to know."""


def crash(
    kills: Annotated[int, typer.Option(min=1, help="How often the server is killed, on each store.")] = 500,
    store: Annotated[Literal["sqlite", "postgresql", "both"], typer.Option(help="Which store.")] = "both",
    seed: Annotated[int, typer.Option(help="Of the clients' choices and the moments of the kills.")] = 0,
    json_file: Annotated[Path, typer.Option("--json", help="Where the figures go.")] = Path("out/bench-crash.json"),
) -> None:
    """Kill a server with SIGKILL over and over, and count what that costs."""
    about, console = machine.about(), Console()
    stores = ("sqlite", "postgresql") if store == "both" else (store,)
    outcomes = [_run(one, kills, seed, console) for one in stores]
    rows = [[name, *(str(value(outcome)) for outcome in outcomes)] for name, value in ROWS.items()]
    table = Table(["", *(outcome.store for outcome in outcomes)], rows, "Killed with SIGKILL, again and again")
    report.show([table, *(f"{outcome.store}: {said}" for outcome in outcomes for said in outcome.examples)], console)
    clean = all(outcome.clean for outcome in outcomes)
    report.write(
        {"clean": clean, "stores": {outcome.store: asdict(outcome) for outcome in outcomes}, **about}, json_file
    )
    raise typer.Exit(not clean)


def _run(store: str, kills: int, seed: int, console: Console) -> Outcome:
    """A run on one store, in a folder that stays where something was found."""
    folder = Path(tempfile.mkdtemp(prefix="attune-crash-"))
    try:
        with bar(console, f"kills on {store}", kills) as told, database_url(store, folder) as url:
            outcome = asyncio.run(Harness(url, folder, seed=seed).run(kills, told))
    except BaseException:
        console.print(f"What was there when it happened is in {folder}")
        raise
    if outcome.clean:
        shutil.rmtree(folder)
    else:
        console.print(f"What was found is in {folder}")
    return outcome


if __name__ == "__main__":
    typer.run(crash)
