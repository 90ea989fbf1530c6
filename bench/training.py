"""`make bench-training`: users' adapters trained all at once, beside one after another, on the bundled model.

Both are programs as a server starts them, on the same rows of the lab's simulated users, with as many threads.
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
from statistics import fmean
from typing import Annotated, Any

import typer
from rich.console import Console

from adapters import progress
from adapters.train import Recipe, TrainingJob
from bench import machine, training_report
from bench.apprentices import Apprentice
from bench.servers import ROOT

ALONE = 4
"""Users trained one by one; more of them would take as long again and say the same."""
LEAST_EDITS, MORE_EDITS = 30, 13
QUICK_STEPS = 8
_PAUSE = 0.02
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Timed:
    """One program's run: seconds by the clock and of processors, of its steps alone and of all of it."""

    steps: int
    seconds: float
    processor: float
    step_seconds: float
    step_processor: float

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
    output = directories[0] / (progress.FILE if module == "adapters.train" else "output")
    with output.open("w") as file:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, directories)], stdout=file, stderr=subprocess.PIPE, cwd=ROOT
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
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} failed: {errors.decode(errors='replace')[-2000:]}")
    (first, begun, before), (last, ended, after) = seen[0], seen[-1]
    share = last / (last - first)  # of all steps over those that were timed
    return Timed(last, seconds, used, (ended - begun) * share, (after - before) * share)


def losses(directory: Path) -> list[float]:
    """The loss of each step that a directory's progress tells of so far."""
    file = directory / progress.FILE
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["loss"] for line in lines if line.startswith('{"event": "step"') and line.endswith("\n")]


def measure(counts: Sequence[int], recipe: Recipe, root: Path, console: Console) -> dict[str, Any]:
    """Train ``ALONE`` users one by one, and the first of them and more at once, for each of ``counts``; in turn."""
    job = TrainingJob(str(ROOT / "lab" / "model"), recipe)

    def directories(name: str, seeds: Iterable[int]) -> list[Path]:
        made = [root / name / str(seed) for seed in seeds]
        for directory in made:
            seed = int(directory.name)
            Apprentice(seed, LEAST_EDITS + seed * 5 % MORE_EDITS).write(directory, job)
        return made

    alone: list[Timed] = []
    together: dict[int, Timed] = {}
    for turn in range(max(ALONE, len(counts))):
        if turn < ALONE:
            alone.append(run("adapters.train", directories("alone", [turn])))
            console.print(
                f"user {turn} alone: {alone[-1].step_seconds:.1f} s of steps, {alone[-1].seconds:.1f} s in all"
            )
        if turn < len(counts):
            count = counts[turn]
            timed = together[count] = run("adapters.batched", directories(f"together-{count}", range(count)))
            console.print(f"{count} at once: {_in_words(timed)}")
    one = {name: fmean(timed.per_step()[name] for timed in alone) for name in alone[0].per_step()}
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
        }
        for count, timed in together.items()
    }
    return {
        "alone_milliseconds": {name: round(1000 * value, 1) for name, value in one.items()},
        "together": rows,
        "steps_each": [min(map(len, courses)), max(map(len, courses))],
        "loss_steps_compared": len(differences),
        "max_loss_difference": max(differences),
    }


def _in_words(timed: Timed) -> str:
    return f"{timed.steps} steps in {timed.step_seconds:.1f} s, {timed.seconds:.1f} s in all"


def figures(counts: Sequence[int], recipe: Recipe, console: Console) -> dict[str, Any]:
    """The JSON of a run; see ``training_report.result``."""
    about = machine.about()
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        found = measure(counts, recipe, Path(folder), console)
    about["versions"]["torch"] = importlib.metadata.version("torch")
    about["machine"]["load_average_1m_after"] = machine.about()["machine"]["load_average_1m"]
    return training_report.result({"threads": recipe.threads, "batch_size": recipe.batch_size, **found}, about)


def summary(quick: bool = True, console: Console | None = None) -> dict[str, float]:
    """The figures whose names begin with ``batched_training_``, for a benchmark of more than this."""
    result = figures([training_report.AT], recipe_of(QUICK_STEPS if quick else None), console or Console(quiet=True))
    return {name: value for name, value in result.items() if name.startswith("batched_training_")}


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
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/training.md.")] = False,
) -> None:
    """Measure training many at once beside one after another."""
    recipe = recipe_of(steps or (QUICK_STEPS if quick else None))
    if threads is not None:
        recipe = replace(recipe, threads=threads)
    counts = users or (str(training_report.AT) if quick else "1,4,16")
    console = Console()
    result = figures([int(number) for number in counts.split(",")], recipe, console)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    training_report.show(result, console)
    console.print(f"Figures in {out}.", style="dim")
    if write_docs:
        training_report.write_docs(result)
        console.print(f"{training_report.DOCS} is rewritten.", style="dim")


if __name__ == "__main__":
    app()
