"""`attune lab edits`: its options, and what it prints."""

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lab.edits.cases import DEV, Case
from lab.edits.mode import Mode

if TYPE_CHECKING:
    from lab.edits.engine import Running
    from server.settings import Settings

_HANDED_ON = ("ATTUNE_EMBEDDER", "ATTUNE_LEARN", "ATTUNE_RECALL_", "ATTUNE_PREFERENCE_", "ATTUNE_SYSTEM_ROLE")
"""The operator's settings of learning and recall: they are what is looked at."""
_WORK, _SERVER = "edits-work.jsonl", "edits-server"
"""What lies in the folder, by names that nobody else gives: a new run deletes them."""


class As(StrEnum):
    """Whose the edits are."""

    OWN = "own"
    ONE = "one"
    BOTH = "both"

    @property
    def modes(self) -> list[Mode]:
        """The modes that are played, one after the other."""
        return ["own", "one"] if self is As.BOTH else ["own" if self is As.OWN else "one"]


@dataclass(frozen=True)
class Options:
    """What is played, on what, and where the work lies."""

    file: Path
    cases: Sequence[Case]
    model: str | None
    engine_url: str | None
    modes: Sequence[Mode]
    out: Path
    resume: bool
    functional: bool


def edits(
    file: Annotated[
        Path, typer.Argument(help="A file of cases; by default those to develop on.", show_default=False)
    ] = DEV,
    model: Annotated[
        str | None, typer.Option(help="What ATTUNE_MODEL takes; by default what that says, or the server's default.")
    ] = None,
    as_: Annotated[As, typer.Option("--as", help="Each edit by a user of its own, all by one, or both.")] = As.BOTH,
    limit: Annotated[int | None, typer.Option(min=1, help="Play the first cases only.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Play the case of this id only; may be repeated.")] = None,
    functional: Annotated[
        bool, typer.Option("--functional", help="Also write answers, and see what was learned in them. Slow.")
    ] = False,
    engine_url: Annotated[
        str | None, typer.Option(envvar="ATTUNE_ENGINE_URL", help="A running vLLM to use instead of starting one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the work file, the server's data and the logs.")] = Path(
        "out/edits"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what that folder has.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Play everyday edits with a real model: what is learned from them, and what comes with later requests."""
    from openai import APIError

    from lab.edits import cases
    from lab.edits import report as reports
    from lab.edits.play import NotDrafted
    from lab.local_server import NotStarted
    from lab.work import NotThisRun
    from server.errors import StartRefused
    from server.models.catalog import DEFAULT

    if DEFAULT is not None and model is None and engine_url is None and "ATTUNE_MODEL" not in os.environ:
        model = DEFAULT.name
    try:
        chosen = cases.chosen(cases.load(file), only or (), limit)
        options = Options(file, chosen, model, engine_url, as_.modes, out, resume, functional)
        if functional and "own" not in options.modes:
            _exit("--functional looks at edits by users of their own: it needs --as own or both.")
        told = asyncio.run(run(options, Console(stderr=True)))
    except (cases.BadCases, NotThisRun, NotStarted, StartRefused, NotDrafted, TimeoutError, APIError) as error:
        _exit(str(error) or "Learning from an edit took too long.")
    except KeyboardInterrupt:
        _exit("Stopped; the same command with --resume goes on.")
    reports.show(told, Console())
    if report is not None:
        reports.write(told, report)
    failed = sum(figures["failed"] for figures in told["modes"].values())
    if failed:
        _exit(f"{failed} edits could not be learned from: the table says why.")


async def run(options: Options, console: Console) -> dict[str, Any]:
    """Play what is not done yet; the figures of all."""
    from lab.edits import report
    from lab.edits.functional import Functional
    from lab.edits.play import Player
    from lab.edits.stand_in import StandIn
    from lab.local_server import local_server
    from lab.prelude.machine import about
    from lab.provenance import commit
    from lab.work import Work, digest
    from server.settings import Settings
    from server.system_role import has_system_role

    settings = Settings(model=options.model) if options.model else Settings()
    server = _server_folder(options)
    work = Work(options.out / _WORK, anew="leave out --resume")
    file = digest(await asyncio.to_thread(options.file.read_bytes))
    code = commit("server", "adapters", "preference", "lab")
    work.begin(file=file, engine=options.engine_url or settings.model_source, commit=code)
    async with _engine(options, settings, console) as engine:
        stand_in = StandIn(engine.url, engine.socket)
        async with stand_in.running(), local_server(server, console, _environment(options, stand_in.url)) as base:
            with _progress(console) as bars:
                bar = bars.add_task("edits and later requests", total=2 * len(options.cases) * len(options.modes))
                player = Player(base, stand_in, work, done=lambda: bars.advance(bar))
                for mode in options.modes:
                    bars.update(bar, description=report.MODES[mode])
                    await player.play(mode, options.cases)
            command = shlex.join(["attune", *sys.argv[1:]])
            of = {"file": options.file.name, "file_digest": file, **about(command=command, model=await player.model())}
            told = report.result(work, options.modes, options.cases, of)
            if options.functional:
                with _progress(console) as bars:
                    checks = sum(len(case.check) for case in options.cases)
                    looking = bars.add_task("wishes seen in unseen answers", total=checks)
                    looked = Functional(
                        engine.engine, player, work, has_system_role(settings), done=lambda: bars.advance(looking)
                    )
                    told["functional"] = await looked.measure(options.cases)
            return told


def _server_folder(options: Options) -> Path:
    """The folder of the server's data, as it was left or empty."""
    folder = options.out / _SERVER
    if not options.resume:
        (options.out / _WORK).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextlib.asynccontextmanager
async def _engine(options: Options, settings: "Settings", console: Console) -> "AsyncIterator[Running]":
    from lab.edits.engine import own_engine, running_engine

    if options.engine_url is not None:
        async with running_engine(options.engine_url, settings) as running:
            yield running
        return
    own = settings.model_copy(update={"engine_url": None})
    async with contextlib.AsyncExitStack() as stack:
        with console.status(f"starting vLLM with {settings.model_name}"):
            started = await stack.enter_async_context(own_engine(own, options.out / "vllm.log"))
        yield started


def _environment(options: Options, engine_url: str) -> Mapping[str, str]:
    """The server's settings: what it learns by is the operator's choice, and its engine is the stand-in."""
    handed_on = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
    model = {} if options.model is None else {"ATTUNE_MODEL": options.model}
    return {**handed_on, **model, "ATTUNE_ENGINE_URL": engine_url}


def _progress(console: Console) -> Progress:
    """A bar with its count, its time, and the time that is left by the pace so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console)


def _exit(message: str) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
