"""`attune lab writers`: its options, and its steps: learn, train, score."""

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

if TYPE_CHECKING:
    from lab.edits.engine import Running
    from lab.work import Work
    from lab.writers.data import Split
    from lab.writers.scoring import Source
    from server.settings import Settings

_HANDED_ON = ("ATTUNE_EMBEDDER", "ATTUNE_LEARN", "ATTUNE_RECALL_", "ATTUNE_PREFERENCE_", "ATTUNE_SYSTEM_ROLE")
_WORK, _SERVER, _ADAPTERS = "writers-work.jsonl", "writers-server", "writers-adapters"
"""What lies in the folder, by names that nobody else gives: a fresh run deletes them."""
_DOCS = Path(__file__).resolve().parents[2] / "docs"
TRAIN_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Options:
    """What is compared, by which models, and where the work lies. ``adapter_model`` None: no adapters."""

    file: Path
    split: "Split"
    model: str | None
    scorer: str | None
    adapter_model: str | None
    adapters: bool
    preferences: bool
    rate: float | None
    epochs: float | None
    engine_url: str | None
    out: Path


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
    writer: Annotated[
        list[str] | None, typer.Option(help="Compare this writer; may come again. By default all.")
    ] = None,
    learn: Annotated[int, typer.Option(min=1, help="Learn from so many first edits of each writer.")] = 20,
    test: Annotated[int, typer.Option(min=1, help="Test on so many after them.")] = 15,
    rate: Annotated[
        float | None, typer.Option(help="Learning rate of the adapters; the recipe's own by default.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the adapters; the recipe's own by default.")] = None,
    engine_url: Annotated[
        str | None, typer.Option(envvar="ATTUNE_ENGINE_URL", help="A running vLLM to use instead of starting one.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run; called again, it goes on there.")] = Path("out/writers"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was done in that folder.")] = False,
    report: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put table and plot into docs/.")] = False,
) -> None:
    """Learn from real writers' edits: does it fit the later edits of that writer better than another's?"""
    from adapters.trainer_process import TrainingFailed
    from lab.edits.play import NotDrafted
    from lab.local_server import NotStarted
    from lab.prelude.report import put
    from lab.work import NotThisRun
    from lab.writers import data
    from lab.writers import report as reports
    from preference.errors import AttuneError
    from server.errors import StartRefused

    kinds = kind or ["preferences", "adapters"]
    if unknown := [one for one in kinds if one not in ("preferences", "adapters")]:
        _exit(f"There is no kind {unknown[0]!r}: preferences, adapters.")
    if engine_url and (scorer or adapter_model):
        _exit("A running engine has one model: leave out --scorer and --adapter-model, or --engine-url.")
    if fresh:
        (out / _WORK).unlink(missing_ok=True)
        for folder in (_SERVER, _ADAPTERS):
            shutil.rmtree(out / folder, ignore_errors=True)
    try:
        split = data.split(data.load(file), learn, test, writer or ())
        options = Options(
            file, split, model, scorer, adapter_model, "adapters" in kinds, "preferences" in kinds, rate, epochs,
            engine_url, out,
        )  # fmt: skip
        told = asyncio.run(run(options, Console(stderr=True)))
    except (data.BadWriters, NotThisRun, NotStarted, StartRefused, NotDrafted, TrainingFailed, AttuneError) as error:
        _exit(str(error))
    except TimeoutError:
        _exit("Learning from an edit took too long; the same command goes on.")
    except KeyboardInterrupt:
        _exit("Stopped; the same command goes on.")
    reports.show(told, Console())
    reports.write(told, out / "writers.json")
    plot = (_DOCS / "benchmark" if write_docs else out) / "writers.png"
    reports.plot(told, plot)
    if report is not None:
        reports.write(told, report)
    if write_docs:
        image = "![Own minus other, of each writer](benchmark/writers.png)"
        put(
            _DOCS / "benchmark.md",
            reports.OPEN,
            reports.CLOSE,
            f"`{told['command']}`\n\n{reports.markdown(told)}\n\n{image}",
        )


async def run(options: Options, console: Console) -> dict[str, Any]:
    """Do what is not done yet; the figures of all."""
    from lab.prelude.machine import about
    from lab.provenance import commit
    from lab.work import Work, digest
    from lab.writers import figures, scoring

    split = options.split
    work = Work(options.out / _WORK)
    learner, scorer, base = (_settings(one) for one in (options.model, _scorer(options), _base(options)))
    work.begin(
        file=digest(await asyncio.to_thread(options.file.read_bytes)), learn=len(split.learned), test=len(split.tested),
        writers=" ".join(split.writers), model=learner.model_source, scorer=scorer.model_source,
        adapter_model=base.model_source, rate=options.rate, epochs=options.epochs, engine=options.engine_url,
        commit=commit("server", "adapters", "preference", "lab/edits", "lab/writers/scoring.py"),
    )  # fmt: skip
    kinds: dict[str, Any] = {}
    with _progress(console) as bars:
        if options.preferences:
            await _learn(options, learner, work, bars)
            sources = scoring.of_preferences(work, split)
            await _score(options, scorer, work, sources, bars)
            kinds[scoring.PREFERENCES] = {
                "scorer": scorer.model_name,
                **figures.compared(work, split, sources, sources[0], scorer.model_source),
                **_told_of_preferences(work, split),
            }
        if options.adapters:
            made, training = await _train(options, base, bars)
            sources = [scoring.Source(scoring.ADAPTERS, scoring.NONE)]
            sources += [scoring.Source(scoring.ADAPTERS, w, model=f"writer-{w}") for w in split.writers]
            await _score(options, base, work, sources, bars, made)
            kinds[scoring.ADAPTERS] = {
                "scorer": base.model_name,
                **figures.compared(work, split, sources, sources[0], base.model_source),
                "training": training,
            }
    command = shlex.join(["attune", *sys.argv[1:]])
    return {
        "file": options.file.name, "writers": list(split.writers), "learned": len(split.learned),
        "tested": len(split.tested), "kinds": kinds, **about(command=command, model=learner.model_name or ""),
    }  # fmt: skip


async def _learn(options: Options, settings: "Settings", work: "Work", bars: Progress) -> None:
    """Let a server learn from all writers, unless that is done."""
    from lab.edits.stand_in import StandIn
    from lab.local_server import local_server
    from lab.writers.learning import Learning

    split = options.split
    total = len(split.writers) * (len(split.learned) + len(split.tested))
    bar = bars.add_task("preferences: edits learned from", total=total)
    if all(work.get("recalled", writer, row.id) for writer in split.writers for row in split.tested):
        bars.update(bar, completed=total)
        return
    async with _engine(options, settings, bars) as engine:
        # Said now, and not after hours of learning: an engine that gives no log-probabilities scores nothing.
        await engine.engine.score([([{"role": "user", "content": "Hello"}], "Hello")])
        stand_in = StandIn(engine.url, engine.socket)
        folder = options.out / _SERVER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
        model = {} if options.model is None else {"ATTUNE_MODEL": options.model}
        async with (
            stand_in.running(),
            local_server(folder, _silent(), {**kept, **model, "ATTUNE_ENGINE_URL": stand_in.url}) as server,
        ):
            await Learning(server, stand_in, work, lambda: bars.advance(bar)).learn(split)


async def _train(
    options: Options, settings: "Settings", bars: Progress
) -> tuple[dict[str, Path], dict[str, dict[str, Any]]]:
    from lab.writers.training import Adapters

    bar = bars.add_task("adapters: trained, percent", total=100)
    source = str(settings.model_folder or settings.model_source)
    adapters = Adapters(
        options.out / _ADAPTERS, source, rate=options.rate, epochs=options.epochs, seconds=TRAIN_SECONDS
    )
    made = await adapters.train(options.split, lambda share: bars.update(bar, completed=round(100 * share)))
    bars.update(bar, completed=100)
    return made, {writer: adapters.figures(writer) for writer in options.split.writers}


async def _score(
    options: Options,
    settings: "Settings",
    work: "Work",
    sources: "list[Source]",
    bars: Progress,
    adapters: dict[str, Path] | None = None,
) -> None:
    """Score all texts under ``sources``, of which some may be adapters, unless that is done."""
    from lab.writers import scoring

    pairs = list(scoring.pairs(options.split, sources))
    bar = bars.add_task(f"{sources[0].kind}: texts scored", total=len(pairs))
    name = settings.model_source
    if all(work.get("scored", source.kind, scoring.key_of(row, source, name)) for row, source in pairs):
        bars.update(bar, completed=len(pairs))
        return
    async with _engine(options, settings, bars) as running:
        for source in sources:
            if source.model is not None and adapters is not None:
                await running.engine.load(source.model, (adapters[source.name]).resolve())
        await scoring.Scoring(running.engine, name, work, lambda: bars.advance(bar)).score(options.split, sources)


@contextlib.asynccontextmanager
async def _engine(options: Options, settings: "Settings", bars: Progress) -> "AsyncIterator[Running]":
    from lab.edits.engine import own_engine, running_engine

    if options.engine_url is not None:
        async with running_engine(options.engine_url, settings) as running:
            yield running
        return
    bar = bars.add_task(f"starting vLLM with {settings.model_name}", total=1)
    async with own_engine(settings.model_copy(update={"engine_url": None}), options.out / "vllm.log") as started:
        bars.update(bar, completed=1)
        yield started


def _told_of_preferences(work: "Work", split: "Split") -> dict[str, Any]:
    from lab.writers.scoring import recalled

    held = {writer: list((work.get("held", writer, "") or {"texts": []})["texts"]) for writer in split.writers}
    counts = [len(recalled(work, writer, row)) for writer in split.writers for row in split.tested]
    failed = sum(
        (work.get("edit", writer, row.id) or {}).get("status") == "failed"
        for writer in split.writers
        for row in split.learned
    )
    return {
        "held": {writer: len(texts) for writer, texts in held.items()},
        "texts": held,
        "recalled": sum(counts) / max(1, len(counts)),
        "failed": failed,
    }


def _scorer(options: Options) -> str | None:
    return options.scorer or options.model


def _base(options: Options) -> str | None:
    return options.adapter_model or options.model


def _settings(model: str | None) -> "Settings":
    from server.settings import Settings

    return Settings(model=model) if model else Settings()


def _progress(console: Console) -> Progress:
    from lab.local_server import progress

    return progress(console)


def _silent() -> Console:
    """One live display is shown at a time."""
    return Console(quiet=True)


def _exit(message: str) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
