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


class Adapters:
    """Trains into ``folder``; a writer whose figures lie there is done. ``seconds`` is how long all may take."""

    def __init__(self, folder: Path, model: str, seconds: float) -> None:
        self._folder = folder
        self._model = model
        self._seconds = seconds

    async def train(self, split: Split, done: Callable[[float], None]) -> dict[str, Path]:
        """Each writer's adapter; ``done`` is told of the share that is done. Raises ``TrainingFailed``."""
        base = await asyncio.to_thread(base_directory, self._model)
        whole = Recipe(threads=os.cpu_count() or 1, niceness=0)  # nobody is served meanwhile
        job = TrainingJob(str(base), await asyncio.to_thread(fitted, whole, base))
        waiting = [
            self._folder / writer
            for writer in split.writers
            if training_folder.write(self._folder / writer, job, (row_of(row, writer) for row in split.learned))
        ]
        if waiting:
            watching = asyncio.create_task(_watch(waiting, done))
            try:
                await run_batched(waiting, self._seconds)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        return {writer: self._folder / writer / "adapter" for writer in split.writers}

    def figures(self, writer: str) -> dict[str, Any]:
        """What is known of a writer's training."""
        told: dict[str, Any] = json.loads((self._folder / writer / FIGURES).read_text())
        return told


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
