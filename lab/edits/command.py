"""`attune lab edits`: its options, and what it prints."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from lab.edits.cases import DEV, Case
from lab.refusal import refuse, refusing

if TYPE_CHECKING:
    from lab.edits.play import Mode

WORK, SERVER = "edits-work.jsonl", "edits-server"
"""What lies in the folder, by names that nobody else gives: a new run deletes them."""


Whose = Literal["own", "one", "both"]
"""Whose the edits are: each of a user of its own, all of one, or one after the other."""


@dataclass(frozen=True)
class Options:
    """What is played, on what, and where the work lies."""

    file: Path
    cases: Sequence[Case]
    model: str | None
    engine_url: str | None
    modes: "Sequence[Mode]"
    out: Path
    functional: bool


def edits(
    file: Annotated[
        Path, typer.Argument(help="A file of cases; by default those to develop on.", show_default=False)
    ] = DEV,
    model: Annotated[
        str | None, typer.Option(help="What ATTUNE_MODEL takes; by default what that says, or the server's default.")
    ] = None,
    as_: Annotated[Whose, typer.Option("--as", help="Each edit by a user of its own, all by one, or both.")] = "both",
    limit: Annotated[int | None, typer.Option(min=1, help="Play the first cases only.")] = None,
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
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Play everyday edits with a real model: what is learned from them, and what comes with later requests."""
    from lab.edits import cases
    from lab.edits.report import report
    from lab.report import conclude
    from lab.work import clear, only_run
    from server.models.catalog import DEFAULT

    if DEFAULT is not None and model is None and engine_url is None and "ATTUNE_MODEL" not in os.environ:
        model = DEFAULT.name
    with refusing("the same command with --resume goes on"):
        modes: Sequence[Mode] = ("own", "one") if as_ == "both" else (as_,)
        options = Options(file, cases.load(file)[:limit], model, engine_url, modes, out, functional)
        if functional and "own" not in modes:
            refuse("--functional looks at edits by users of their own: it needs --as own or both.")
        with only_run(out):
            if not resume:
                clear(out, WORK, SERVER)
            told = asyncio.run(run(options, Console(stderr=True)))
    conclude(told, report(told), [json_file])
    failed = sum(figures["failed"] for figures in told["modes"].values())
    if failed:
        refuse(f"{failed} edits could not be learned from: the table says why.")


async def run(options: Options, console: Console) -> dict[str, Any]:
    """Play what is not done yet; the figures of all."""
    from lab.edits import report
    from lab.edits.engine import learning_server, running_engine
    from lab.edits.functional import Functional
    from lab.edits.play import Player
    from lab.progress import progress
    from lab.provenance import about, commit
    from lab.work import Work, digest
    from server.engine.system_role import has_system_role
    from server.settings import Settings

    settings = Settings(model=options.model) if options.model else Settings()
    work = Work(options.out / WORK, anew="leave out --resume")
    file = digest(await asyncio.to_thread(options.file.read_bytes))
    code = commit("server", "adapters", "preference", "store", "lab")
    work.begin(file=file, engine=options.engine_url or settings.model_source, commit=code)
    async with contextlib.AsyncExitStack() as stack:
        with console.status(f"starting vLLM with {settings.model_name}"):
            log = options.out / "vllm.log"
            engine = await stack.enter_async_context(running_engine(settings, options.engine_url, log))
        server = learning_server(engine, options.out / SERVER, options.model, console)
        base, stand_in = await stack.enter_async_context(server)
        with progress(console) as bars:
            bar = bars.add_task("edits and later requests", total=2 * len(options.cases) * len(options.modes))
            player = Player(base, stand_in, work, done=lambda: bars.advance(bar))
            for mode in options.modes:
                bars.update(bar, description=report.MODES[mode])
                await player.play(mode, options.cases)
            told = report.result(
                work, options.modes, options.cases,
                {"file": options.file.name, "file_digest": file, **about(await player.model())},
            )  # fmt: skip
            if options.functional:
                checks = sum(len(case.check) for case in options.cases)
                looking = bars.add_task("wishes seen in unseen answers", total=checks)
                looked = Functional(
                    engine.engine, player, work, has_system_role(settings), done=lambda: bars.advance(looking)
                )
                told["functional"] = await looked.measure(options.cases)
        return told
