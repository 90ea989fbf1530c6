"""What the trainer prints is noted while it runs."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.lifecycle import versions
from adapters.training.process import run_command
from tests.adapters.fakes import until
from tests.adapters.training.conftest import ANN, World


async def test_what_the_trainer_prints_is_noted_meanwhile(world: World) -> None:
    await world.add_edits()
    script = (
        "import json, time\n"
        "for step in (1, 2):\n"
        "    print('loading', json.dumps({'loss': 1}), sep='\\n')\n"
        "    print(json.dumps({'step': step, 'steps': 4, 'loss': 1 / step, 'at': 7.0 * step}), flush=True)\n"
        "time.sleep(60)"
    )

    async def slow(directory: Path, seconds: float) -> None:
        await run_command([sys.executable, "-c", script], directory, seconds)

    job = await world.job()
    running = asyncio.create_task(world.training(slow)(job))

    def noted() -> Any:
        return world.database.read_now(versions.get, ANN, 1).report.get("training", {}).get("progress")

    await until(noted, pause=0.05)
    assert noted() == [
        {"step": 1, "steps": 4, "loss": 1.0, "at": 7.0},
        {"step": 2, "steps": 4, "loss": 0.5, "at": 14.0},
    ]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await world.training()(job)
    version = await world.version()
    assert version.report["training"]["progress"] == []
    assert version.report["training"]["finished_at"] >= version.report["training"]["started_at"]
