"""`attune lab`: the synthetic world, the bundled model's recipe and its measurement, and what learning is worth."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lab import report as reports
from lab.edits.command import edits
from lab.outcomes import outcomes
from lab.prelude.ablate import ablate
from lab.prelude.command import bench
from lab.refusal import refuse
from lab.writers.command import writers

MODEL = Path(__file__).resolve().parent / "model"

app = typer.Typer(help="The synthetic world, and the bundled model made from it.", no_args_is_help=True)
app.command()(bench)
app.command()(outcomes)
app.command()(ablate)
app.command()(edits)
app.command()(writers)


_Base = Annotated[
    str | None,
    typer.Option(help="A small model of `attune models list`: teach it to follow preferences, or measure it."),
]


@app.command()
def train(
    base: _Base = None,
    minutes: Annotated[
        float, typer.Option(help="With --base: processor time of each thread, all runs together.")
    ] = 360,
    threads: Annotated[int, typer.Option(min=1, help="With --base: threads that compute.")] = 2,
    speed: Annotated[float, typer.Option(help="Divides the recipe's time: 10 gives a rough model in ten minutes.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the data and the initial weights.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the model, or for checkpoints and the LoRA.")] = Path(
        "out/model"
    ),
) -> None:
    """Train the bundled model from scratch on this CPU, in about two hours; or, with --base, a LoRA on another model.

    A LoRA's training goes on from the checkpoint that lies in the folder.
    """
    if base is not None:
        # Threads that wait for each other by spinning cost most of the time where anything else runs. Read at import.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from lab.assistant import train as lora

        recipe = lora.Recipe(minutes=minutes / speed, seed=seed, threads=threads)
        Console().print(lora.train(_fetched(base), out, recipe, Console(stderr=True)))
        return
    from dataclasses import replace

    from lab.train import Recipe
    from lab.train import train as run

    phases = tuple(replace(phase, minutes=phase.minutes / speed) for phase in Recipe().phases)
    Console().print(run(Recipe(phases=phases, seed=seed), out))


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Option(help="Model folder.")] = MODEL,
    base: _Base = None,
    adapter: Annotated[Path | None, typer.Option(help="With --base: the folder of a LoRA of it.")] = None,
    examples: Annotated[int, typer.Option(help="Examples per measurement.")] = 400,
    chats: Annotated[int, typer.Option(help="With --base: general requests.")] = 60,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Measure a model on facts, styles and phrasings that training never saw; exit 1 if it misses a target."""
    if base is not None:
        from lab.assistant import measure

        told = measure.evaluate(_fetched(base), examples, chats, Console(stderr=True), adapter)
        measure.show(told, Console())
        if report is not None:
            reports.write(told, report)
        return
    from lab.evaluate import evaluate as run
    from lab.evaluate import told_of

    figures = run(model, examples)
    reports.conclude(figures, told_of(figures), [report])
    if not all(figures["targets_met"].values()):
        raise typer.Exit(1)


def _fetched(name: str) -> Path:
    """The folder of a fetched model, or of one by its path; a sentence where there is none."""
    from server.models.catalog import KNOWN
    from server.models.fetch import manifest
    from server.settings import Settings

    root = Settings().models_folder
    known = KNOWN.get(name)
    if known is not None and manifest(known, root) is None:
        refuse(f"{name} is not fetched: run `attune models fetch {name}`.")
    folder = Path(name) if known is None else known.folder(root)
    if not (folder / "config.json").is_file():
        refuse(f"{name} is no fetched model and no folder of one.")
    return folder


_Embedder = Annotated[str, typer.Option("--embedder", help="bundled, or a name or folder of sentence-transformers.")]


@app.command()
def recall(
    embedder: _Embedder = "bundled",
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the tables into docs/recall.md.")] = False,
) -> None:
    """Measure whether recall brings the right preference, on requests written by hand."""
    import asyncio

    from lab import recall_everyday, recall_quality, recall_report
    from lab.kinds import RememberingSentences
    from preference.recall.embedder import SentenceEmbedder
    from preference.recall.kind import KindEmbedder

    kinds = KindEmbedder(RememberingSentences(SentenceEmbedder(embedder)))
    everyday = {split: recall_everyday.cases(split) for split in recall_quality.SPLITS}
    stated = recall_everyday.stated_pairs()
    figures = asyncio.run(recall_quality.measure(recall_quality.load(), kinds, everyday, stated))
    document = reports.DOCS / "recall.md" if write_docs else None
    reports.conclude(figures, recall_report.report(figures), [report], document, recall_report.MARK)


@app.command()
def kinds(
    embedder: _Embedder = "bundled",
    best: Annotated[int, typer.Option(min=1, help="How many recipes to show.")] = 12,
) -> None:
    """Try recipes of the space in which requests of one kind are near, on what is for choosing."""
    from lab import recall_everyday, recall_quality
    from lab.kinds import fit
    from preference.recall.embedder import SentenceEmbedder

    people = [person for person in recall_quality.load() if person.split == "dev"]
    found = fit(SentenceEmbedder(embedder), people, recall_everyday.cases("dev"))
    rows = [[f"{value:g}" for value in figures.values()] for figures in found[:best]]
    Console().print(reports.Table(list(found[0]), rows, texts=0).shown())
