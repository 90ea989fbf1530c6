"""`make bench-recipes`: what each recipe costs to train and gains its user, by how many edits there are.

Users of the lab's world, trained by the server's own trainer on the rows that it makes of their edits. Afterwards the
adapter answers requests it never saw, greedily and by itself; the user edits, and words are counted. What was measured
lies in the run's folder, and a run that was stopped goes on.
"""

import contextlib
import importlib
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training.trainer import TrainingJob, train
from bench import machine, recipes_report
from bench.recipes_report import BASE
from bench.servers import BUNDLED
from bench.training_users import TrainingUser
from lab import report
from lab.progress import bar
from lab.work import Work
from preference.distance import word_distance
from preference.prompt import compose

RECIPES: dict[str, Objective | None] = {
    BASE: None,
    "sft": Objective(),
    "ensemble": Objective("ensemble"),
    "dpo": Objective("dpo"),
    "kto": Objective("kto"),
    "ensemble, gap weights": Objective("ensemble", gap_weights=True),
    "ensemble, robust": Objective("ensemble", flipped=0.1),
    "ensemble, Jensen-Shannon": Objective("ensemble", divergence="js_divergence"),
    "ensemble, forward KL": Objective("ensemble", divergence="forward_kl"),
    "dpo, SPA": Objective("dpo", spa_rounds=1),
    "ensemble, corrupted contexts": Objective("ensemble", corrupted=True),
}
"""By name; the base model trains nothing."""
EDITS = (16, 48, 144)
ASKED = 32
"""Requests that each adapter answers."""
ROOM = 320
"""Tokens of an answer."""
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Trial:
    """One adapter: a recipe, a number of edits, a user; the learning rate, None for the base model's."""

    recipe: str
    edits: int
    seed: int
    rate: float | None = None

    def __str__(self) -> str:
        """Its name in the run's folder."""
        return f"{self.recipe}, {self.edits} edits, user {self.seed}, rate {self.rate}"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: words of edits a request, the share of requests without any, and processor seconds.

    ``told_`` is with what the user wants in the prompts, as perfect retrieval brings it. ``commit`` is that of the code
    it was measured with; None outside a checkout.
    """

    trial: Trial
    cost: float
    zero_edit: float
    told_cost: float
    told_zero_edit: float
    seconds: float
    steps: int
    commit: str | None


def trials(edits: Sequence[int], seeds: int, rates: Sequence[float] = ()) -> list[Trial]:
    """Every trial, cheap ones first, at ``rates`` or the recipes' own; the base model once for each user."""
    base = [Trial(BASE, EDITS[0], seed) for seed in range(seeds)]
    return base + [
        Trial(recipe, count, seed, rate)
        for count in edits
        for seed in range(seeds)
        for recipe, objective in RECIPES.items()
        if objective is not None
        for rate in rates or [_rate(objective)]
    ]


def _rate(objective: Objective) -> float:
    """The recipe's own for a small model: what was tried at another one is another trial."""
    small: float = importlib.import_module(f"adapters.training.recipes.{objective.name}").RATES[0]
    return small


def attempt(trial: Trial, asked: int = ASKED) -> Outcome:
    """Train, then answer ``asked`` requests, in this process and with one thread."""
    commit = machine.commit()  # first: files may change while it goes on
    objective = RECIPES[trial.recipe]
    user = TrainingUser(trial.seed, trial.edits)
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        directory, steps, began = Path(folder) / "training", 0, time.process_time()
        if objective is not None:
            job = TrainingJob(str(BUNDLED), Recipe(threads=1, learning_rate=trial.rate, objective=objective))
            user.write(directory, job)
            with contextlib.redirect_stdout(nowhere):
                steps = train(directory, job)["steps"]
        seconds = time.process_time() - began
        alone, together = (_answered(directory / "adapter", user, asked, told=told) for told in (False, True))
    return Outcome(trial, *alone, *together, seconds=round(seconds, 1), steps=steps, commit=commit)


def _answered(adapter: Path, user: TrainingUser, count: int, *, told: bool) -> tuple[float, float]:
    """Words that the user edits a request, and the share of requests with none; ``told`` what the user wants or not."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from adapters.training.recipes import sampling

    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(BUNDLED, dtype="auto")
    if adapter.is_dir():
        model = PeftModel.from_pretrained(model, str(adapter))
    rng = random.Random(f"asked {user.seed}")
    asked = [user.request(rng) for _ in range(count)]
    prompts = [
        compose([{"role": "user", "content": request.text}], (), user.wants(request) if told else ())
        for request in asked
    ]
    found = sampling.answers(model, AutoTokenizer.from_pretrained(BUNDLED), prompts, max_tokens=ROOM)
    answers = [texts[0] if texts else "" for texts in found]  # one that did not end is no answer
    edits = [user.user.edit(request, text) for request, text in zip(asked, answers, strict=True)]
    costs = [word_distance(text, edited) for text, edited in zip(answers, edits, strict=True)]
    return sum(costs) / count, costs.count(0) / count


def run(wanted: Sequence[Trial], folder: Path, jobs: int, console: Console) -> list[dict[str, Any]]:
    """Try those of ``wanted`` that ``folder`` lacks, ``jobs`` at a time; all outcomes that it has then."""
    work = Work(folder / "outcomes.jsonl")
    left = [trial for trial in wanted if work.get("outcome", "", str(trial)) is None]
    context = multiprocessing.get_context("spawn")
    with (
        bar(console, "adapters", len(wanted)) as told,
        ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        told(len(wanted) - len(left))
        for future in as_completed([pool.submit(attempt, trial) for trial in left]):
            outcome = future.result()
            work.add("outcome", "", str(outcome.trial), **asdict(outcome))
            told(1)
    return work.of("outcome")


@app.command()
def recipes(
    quick: Annotated[bool, typer.Option("--quick", help="Four recipes, 16 edits, one user: minutes.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Users.")] = 2,
    edits: Annotated[list[int] | None, typer.Option(min=8, help="Numbers of edits; may come again.")] = None,
    rates: Annotated[
        list[float] | None,
        typer.Option("--rate", min=1e-6, help="Instead of the recipes' own; may come again."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time, of one thread each.")] = os.cpu_count() or 1,
    only: Annotated[str | None, typer.Option(help="Recipes, with semicolons; by default all.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("out/recipes"),
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-recipes.json"),
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put table and plot into docs/adapters.md.")] = False,
) -> None:
    """Measure every recipe."""
    chosen = only.split(";") if only else list(RECIPES)[:4] if quick else list(RECIPES)
    unknown = [name for name in chosen if name not in RECIPES]
    if unknown:
        raise typer.BadParameter(f"there is no recipe {unknown[0]!r}: {'; '.join(RECIPES)}")
    numbers = edits or (EDITS[:1] if quick else EDITS)
    console, about = Console(), machine.about()
    found = trials(numbers, 1 if quick else seeds, rates or ())
    wanted = [trial for trial in found if trial.recipe in chosen]
    outcomes = run(wanted, folder, jobs, console)
    result = recipes_report.result(outcomes, about)
    if write_docs:
        recipes_report.plot(result)
    document = recipes_report.DOCS if write_docs else None
    report.conclude(result, recipes_report.parts(result), [out], document, recipes_report.MARK)


if __name__ == "__main__":
    app()
