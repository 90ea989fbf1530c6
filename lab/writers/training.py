"""An adapter of each writer's edits, by the server's own trainer, all in one program."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapters.artifacts.validation import base_directory, fitted
from adapters.recipe import Recipe
from adapters.training import progress
from adapters.training.batch.scheduler import run_batched
from adapters.training.trainer import FIGURES, TrainingJob
from lab import training_folder
from lab.writers.data import Row, Split
from store.message import Message

_LOOK_SECONDS = 2.0


async def train(
    split: Split, folder: Path, model: str, seconds: float, done: Callable[[float], None]
) -> dict[str, dict[str, Any]]:
    """Train each writer's adapter below ``folder``; the figures of each, by writer. Whose figures lie there is done.

    All may take so many ``seconds``; ``done`` is told of the share that is done. Raises ``TrainingFailed``.
    """
    base = await asyncio.to_thread(base_directory, model)
    whole = Recipe(threads=os.cpu_count() or 1, niceness=0)  # nobody is served meanwhile
    job = TrainingJob(str(base), await asyncio.to_thread(fitted, whole, base))
    waiting = [
        folder / writer
        for writer in split.writers
        if training_folder.write(folder / writer, job, (row_of(row, writer) for row in split.learned))
    ]
    if waiting:
        watching = asyncio.create_task(_watch(waiting, done))
        try:
            await run_batched(waiting, seconds)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return {writer: json.loads((folder / writer / FIGURES).read_text()) for writer in split.writers}


def row_of(row: Row, writer: str) -> dict[str, list[Message]]:
    """A training row: what was asked, and what the writer made of the answer."""
    return {
        "prompt": [{"role": "user", "content": row.instruction}],
        "completion": [{"role": "assistant", "content": row.edited[writer]}],
    }


async def _watch(directories: Sequence[Path], done: Callable[[float], None]) -> None:
    """Tell of how much is done, until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        steps = [await asyncio.to_thread(progress.read, directory) for directory in directories]
        done(sum(of[-1]["step"] / of[-1]["steps"] for of in steps if of) / len(directories))
