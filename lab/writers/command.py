"""`attune lab writers`: its options, and what it prints."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lab.refusal import refuse, refusing


def writers(
    file: Annotated[Path, typer.Argument(help="Drafts and what several writers made of them, as JSON.")],
    model: Annotated[
        str | None, typer.Option(help="What ATTUNE_MODEL takes: who learns; by default the bundled one.")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Another model that scores the texts, so that nobody scores what it judged.")
    ] = None,
    adapter_model: Annotated[
        str | None, typer.Option(help="Another model that adapters are trained on; it scores them.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="preferences or adapters; may come again. By default both.")
    ] = None,
    learn: Annotated[int, typer.Option(min=1, help="Learn from so many first edits of each writer.")] = 20,
    test: Annotated[int, typer.Option(min=1, help="Test on so many after them.")] = 15,
    engine_url: Annotated[
        str | None, typer.Option(envvar="ATTUNE_ENGINE_URL", help="A running vLLM to use instead of starting one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; called again, it goes on there.")] = Path("out/writers"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done in that folder.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/benchmark.md.")] = False,
) -> None:
    """Learn from real writers' edits: does it fit the later edits of that writer better than another's?"""
    from lab.report import DOCS, conclude
    from lab.work import clear, only_run
    from lab.writers import data
    from lab.writers import report as reports
    from lab.writers.run import ADAPTERS, SERVER, WORK, Options, run

    kinds = kind or ["preferences", "adapters"]
    if unknown := [one for one in kinds if one not in ("preferences", "adapters")]:
        refuse(f"There is no kind {unknown[0]!r}: preferences, adapters.")
    if engine_url and (scorer or adapter_model):
        refuse("A running engine has one model: leave out --scorer and --adapter-model, or --engine-url.")
    with refusing("the same command goes on"):
        split = data.split(data.load(file), learn, test)
        options = Options(
            file, split, model, scorer or model, adapter_model or model, "adapters" in kinds, "preferences" in kinds,
            engine_url, out,
        )  # fmt: skip
        with only_run(out):
            if fresh:
                clear(out, WORK, SERVER, ADAPTERS)
            told = asyncio.run(run(options, Console(stderr=True)))
    report = [f"`{told['command']}`", *reports.report(told)]
    document = DOCS / "benchmark.md" if write_docs else None
    conclude(told, report, [out / "writers.json", json_file], document, reports.MARK)
