"""The steps of `attune lab writers`: learn, train, score; what the folder has is not done again."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from lab.edits.engine import Running, learning_server, running_engine
from lab.edits.play import Player
from lab.progress import progress
from lab.provenance import about, commit
from lab.work import Work, digest
from lab.writers import figures, scoring
from lab.writers.data import Split
from lab.writers.learning import learn, user_of
from lab.writers.scoring import Source, key_of, recalled
from server.settings import Settings

WORK, SERVER, ADAPTERS = "writers-work.jsonl", "writers-server", "writers-adapters"
"""What lies in the folder, by names that nobody else gives: a fresh run deletes them."""
TRAIN_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class Options:
    """What is compared, by which models, and where the work lies. No model named: the bundled one."""

    file: Path
    split: Split
    model: str | None
    scorer: str | None
    adapter_model: str | None
    adapters: bool
    preferences: bool
    engine_url: str | None
    out: Path


async def run(options: Options, console: Console) -> dict[str, Any]:
    """Do what is not done yet; the figures of all."""
    split = options.split
    work = Work(options.out / WORK)
    learner, scorer, base = (
        Settings(model=name) if name else Settings() for name in (options.model, options.scorer, options.adapter_model)
    )
    work.begin(
        file=digest(await asyncio.to_thread(options.file.read_bytes)), learn=len(split.learned), test=len(split.tested),
        writers=" ".join(split.writers), model=learner.model_source, scorer=scorer.model_source,
        adapter_model=base.model_source, engine=options.engine_url,
        commit=commit("server", "adapters", "preference", "store", "lab/edits", "lab/writers/scoring.py"),
    )  # fmt: skip
    kinds: dict[str, Any] = {}
    with progress(console) as bars:
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
            training = await _train(options, base, bars)
            sources = [Source(scoring.ADAPTERS, scoring.NONE)]
            sources += [Source(scoring.ADAPTERS, writer, model=f"writer-{writer}") for writer in split.writers]
            await _score(options, base, work, sources, bars)
            kinds[scoring.ADAPTERS] = {
                "scorer": base.model_name,
                **figures.compared(work, split, sources, sources[0], base.model_source),
                "training": training,
            }
    return {
        "file": options.file.name, "writers": list(split.writers), "learned": len(split.learned),
        "tested": len(split.tested), "kinds": kinds, **about(learner.model_name or ""),
    }  # fmt: skip


async def _learn(options: Options, settings: Settings, work: Work, bars: Progress) -> None:
    """Let a server learn from all writers, unless that is done."""
    split = options.split
    total = len(split.writers) * (len(split.learned) + len(split.tested))
    bar = bars.add_task("preferences: edits learned from", total=total)
    if all(work.get("recalled", writer, row.id) for writer in split.writers for row in split.tested):
        bars.update(bar, completed=total)
        return
    async with AsyncExitStack() as stack:
        engine = await _engine(stack, options, settings, bars)
        # Said now, and not after hours of learning: an engine that gives no log-probabilities scores nothing.
        await engine.engine.score([([{"role": "user", "content": "Hello"}], "Hello")])
        silent = Console(quiet=True)  # one live display is shown at a time
        server = learning_server(engine, options.out / SERVER, options.model, silent)
        base, stand_in = await stack.enter_async_context(server)
        await learn(Player(base, stand_in, work, lambda: bars.advance(bar), user_of), split)


async def _train(options: Options, settings: Settings, bars: Progress) -> dict[str, dict[str, Any]]:
    from lab.writers.training import train  # with what training needs

    bar = bars.add_task("adapters: trained, percent", total=100)
    source = str(settings.model_folder or settings.model_source)
    folder = options.out / ADAPTERS
    return await train(
        options.split, folder, source, TRAIN_SECONDS, lambda share: bars.update(bar, completed=round(100 * share))
    )


async def _score(options: Options, settings: Settings, work: Work, sources: Sequence[Source], bars: Progress) -> None:
    """Score all texts under ``sources``, of which some may be adapters, unless that is done."""
    pairs = list(scoring.pairs(options.split, sources))
    bar = bars.add_task(f"{sources[0].kind}: texts scored", total=len(pairs))
    name = settings.model_source
    if all(work.get("scored", source.kind, key_of(row, source, name)) for row, source in pairs):
        bars.update(bar, completed=len(pairs))
        return
    async with AsyncExitStack() as stack:
        engine = (await _engine(stack, options, settings, bars)).engine
        for source in sources:
            if source.model is not None:
                await engine.load(source.model, (options.out / ADAPTERS / source.name / "adapter").resolve())
        await scoring.score(options.split, sources, engine, name, work, lambda: bars.advance(bar))


async def _engine(stack: AsyncExitStack, options: Options, settings: Settings, bars: Progress) -> Running:
    bar = bars.add_task(f"starting vLLM with {settings.model_name}", total=1)
    log = options.out / "vllm.log"
    running = await stack.enter_async_context(running_engine(settings, options.engine_url, log))
    bars.update(bar, completed=1)
    return running


def _told_of_preferences(work: Work, split: Split) -> dict[str, Any]:
    held = {writer: list((work.get("held", writer, "") or {"texts": []})["texts"]) for writer in split.writers}
    counts = [len(recalled(work, writer, row)) for writer in split.writers for row in split.tested]
    lessons = [work.get("edit", writer, row.id) or {} for writer in split.writers for row in split.learned]
    return {
        "held": {writer: len(texts) for writer, texts in held.items()},
        "texts": held,
        "recalled": sum(counts) / max(1, len(counts)),
        "failed": sum(lesson.get("status") == "failed" for lesson in lessons),
    }
