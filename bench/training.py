"""`make bench-training`: users' adapters trained all at once, beside one after another, on the bundled model.

Both are programs as a server starts them, on the same rows of the lab's simulated users, with as many threads.
``--shape`` trains a model of that shape instead, of random weights, which is what a GPU is measured with.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from adapters.recipe import Recipe
from adapters.training import progress
from adapters.training.amount import SMALL
from adapters.training.trainer import FIGURES, TrainingJob
from bench import machine, training_report
from bench.servers import BUNDLED, ROOT
from bench.shapes import SHAPES
from bench.training_users import TrainingUser
from lab import report
from lab.provenance import accelerators

ALONE = 4
"""Users trained one by one; more of them would take as long again and say the same."""
LEAST_EDITS, MORE_EDITS = 30, 13
QUICK_STEPS = 8
_PAUSE = 0.02
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Timed:
    """One program's run: seconds by the clock and of processors, of its steps alone and of all of it; GiB at most."""

    steps: int
    seconds: float
    processor: float
    step_seconds: float
    step_processor: float
    peak_gib: float

    def __str__(self) -> str:
        return f"{self.steps} steps in {self.step_seconds:.1f} s, {self.seconds:.1f} s in all"

    def per_step(self) -> dict[str, float]:
        """Seconds for one step of one user."""
        between = max(1, self.steps)
        return {
            "step": self.step_seconds / between,
            "step_processor": self.step_processor / between,
            "end_to_end": self.seconds / between,
            "end_to_end_processor": self.processor / between,
        }


def run(module: str, directories: Sequence[Path]) -> Timed:
    """Train ``directories`` with ``python -m module``. Steps are timed from when the first were seen done."""
    output = directories[0] / (progress.FILE if module == "adapters.training.trainer" else "output")
    with output.open("w") as file, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, directories)], stdout=file, stderr=errors, cwd=ROOT
        )
        seen: list[tuple[int, float, float]] = []
        used = 0.0
        while process.poll() is None:
            used = machine.cpu_seconds(process.pid) or used
            done = sum(len(losses(directory)) for directory in directories)
            if done and (not seen or done > seen[-1][0]):
                seen.append((done, time.monotonic(), used))
            time.sleep(_PAUSE)
        seconds = time.monotonic() - started
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{module} failed: {errors.read()[-2000:]}")
    (first, begun, before), (last, ended, after) = seen[0], seen[-1]
    if last == first:
        raise RuntimeError(f"{module} took all of its {last} steps between two looks: --steps needs more")
    share = last / (last - first)  # of all steps over those that were timed
    peak = max(json.loads((directory / FIGURES).read_text())["peak_gib"] for directory in directories)
    return Timed(last, seconds, used, (ended - begun) * share, (after - before) * share, peak)


def losses(directory: Path) -> list[float]:
    """The loss of each step that a directory's progress tells of so far."""
    file = directory / progress.FILE
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["loss"] for line in lines if line.startswith('{"event": "step"') and line.endswith("\n")]


def written(root: Path, seeds: Iterable[int], job: TrainingJob) -> list[Path]:
    """Users' folders below ``root``."""
    made = [root / str(seed) for seed in seeds]
    for directory in made:
        seed = int(directory.name)
        TrainingUser(seed, LEAST_EDITS + seed * 5 % MORE_EDITS).write(directory, job)
    return made


def measure(counts: Sequence[int], job: TrainingJob, root: Path, console: Console) -> dict[str, Any]:
    """Train ``ALONE`` users one by one, and the first of them and more at once, for each of ``counts``; in turn."""
    alone: list[Timed] = []
    together: dict[int, Timed] = {}
    for turn in range(max(ALONE, len(counts))):
        if turn < ALONE:
            alone.append(run("adapters.training.trainer", written(root / "alone", [turn], job)))
            console.print(f"user {turn} alone: {alone[-1]}")
        if turn < len(counts):
            count = counts[turn]
            together[count] = run(
                "adapters.training.batch.trainer", written(root / f"together-{count}", range(count), job)
            )
            console.print(f"{count} at once: {together[count]}")
    one = {name: median(timed.per_step()[name] for timed in alone) for name in alone[0].per_step()}
    most = max(counts)
    courses = [losses(root / f"together-{most}" / str(user)) for user in range(most)]
    differences = [
        abs(a - b)
        for user in range(min(ALONE, most))
        for a, b in zip(losses(root / "alone" / str(user)), courses[user], strict=True)
    ]
    rows = {
        count: {
            "steps": timed.steps,
            "milliseconds": {name: round(1000 * value, 1) for name, value in timed.per_step().items()},
            "speedup": {name: round(one[name] / value, 2) for name, value in timed.per_step().items()},
            "peak_gib": timed.peak_gib,
        }
        for count, timed in together.items()
    }
    return {
        "alone_milliseconds": {name: round(1000 * value, 1) for name, value in one.items()},
        "alone_peak_gib": max(timed.peak_gib for timed in alone),
        "together": rows,
        "steps_each": [min(map(len, courses)), max(map(len, courses))],
        "loss_steps_compared": len(differences),
        "max_loss_difference": max(differences),
    }


def recipe_of(steps: int | None) -> Recipe:
    """The default recipe at normal priority, with so many steps for each user; None for the recipe's own."""
    return Recipe(niceness=0) if steps is None else Recipe(niceness=0, min_steps=steps, max_steps=steps)


@app.command()
def training(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-training.json"),
    quick: Annotated[bool, typer.Option("--quick", help="Sixteen users at once, and few steps.")] = False,
    users: Annotated[str | None, typer.Option(help="Numbers of users that train at once, by default 1,4,16.")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps of each user; by default the recipe's.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of either; by default the recipe's.")] = None,
    shape: Annotated[Literal["0.5b"] | None, typer.Option(help="Random weights of a shape.")] = None,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Of the weights of that shape.")] = "float32",
    activation_gib: Annotated[
        float | None, typer.Option(min=0.1, help="What ATTUNE_TRAIN_ACTIVATION_GIB says.")
    ] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/training.md.")] = False,
) -> None:
    """Measure training many at once beside one after another."""
    if write_docs and (shape is None) == bool(accelerators()):
        raise typer.BadParameter("--write-docs is for the bundled model without a GPU, or for a shape with one")
    recipe = replace(recipe_of(steps or (QUICK_STEPS if quick else None)), activation_gib=activation_gib)
    if threads is not None:
        recipe = replace(recipe, threads=threads)
    counts = [int(number) for number in (users or (str(training_report.AT) if quick else "1,4,16")).split(",")]
    about, console = machine.about(), Console()
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        root = Path(folder)
        job = TrainingJob(str(SHAPES[shape].write(root / "model", dtype) if shape else BUNDLED), recipe)
        found = measure(counts, job, root, console)
    about["versions"]["torch"] = importlib.metadata.version("torch")
    about["machine"]["load_average_1m_after"] = machine.load()
    settings = {
        "model": f"{shape}, {dtype}" if shape else "bundled",
        "threads": recipe.threads,
        "batch_size": recipe.batch_size or SMALL.batch_size,
        "activation_gib": recipe.activation_gib,
    }
    result = training_report.result({**settings, **found}, about)
    document = training_report.DOCS if write_docs else None
    report.conclude(result, training_report.parts(result), [out], document, training_report.mark(result))


if __name__ == "__main__":
    app()
