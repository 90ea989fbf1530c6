"""`make bench-rates`: which learning rate, epochs and rank suit a real model, by how many edits there are.

Users of the everyday world, with wishes of those families alone that are for development. The model writes a draft for
each request, the user edits it, adapters learn from the first edits by the server's own trainer, and later edits say
what was gained: how likely the user's text is, and how far ahead of its draft. What was done lies in the run's folder,
and a run that was stopped goes on.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from adapters.artifacts.validation import fitted
from adapters.evaluation.interval import paired_interval
from adapters.recipe import Recipe
from adapters.training.batch.scheduler import run_batched
from adapters.training.trainer import FIGURES, TrainingJob
from bench import machine, rates_report
from lab import report, training_folder
from lab.everyday.environment import EverydayEnvironment
from lab.progress import progress
from lab.work import NotThisRun, Work
from preference.prompt import compose
from store.message import Message

TESTED = 12
"""Edits that nothing learns from, of each user."""
ROOM = 160
"""Tokens of a draft."""
AT_ONCE = 8
TRAIN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Trial:
    """One adapter: whose, from how many edits, and how."""

    user: int
    edits: int
    rate: float
    epochs: float
    rank: int

    @property
    def id(self) -> str:
        """Its name in the run's folder."""
        return f"user{self.user}-edits{self.edits}-rate{self.rate:g}-epochs{self.epochs:g}-rank{self.rank}"


@dataclass(frozen=True)
class Edited:
    """A request with the user's true wishes, its draft, and what the user made of it."""

    request: str
    wishes: Sequence[str]
    draft: str
    text: str

    def prompt(self, told: bool) -> list[Message]:
        """The prompt; ``told`` what the user wants, as perfect retrieval would bring it."""
        return compose([{"role": "user", "content": self.request}], (), tuple(self.wishes) if told else ())


class Model:
    """The base model in ``folder``, in this process and on the CPU, with one adapter or none."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()

    def drafts(self, requests: Sequence[str]) -> list[str]:
        """A greedy answer to each, read together and cut after ``ROOM`` tokens."""
        import torch

        tokenizer = self.tokenizer
        chats = [[{"role": "user", "content": request}] for request in requests]
        texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
        asked = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.inference_mode():
            made = self.model.generate(
                **asked, max_new_tokens=ROOM, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )[:, asked["input_ids"].shape[1] :]
        return [text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]

    def scores(self, adapter: Path | None, edits: Sequence[Edited]) -> list[list[float]]:
        """Of each edit: nats a token of the user's text, and of the draft."""
        from peft import PeftModel

        from adapters.training.recipes.sampling import log_probabilities

        model = PeftModel.from_pretrained(self.model, str(adapter)) if adapter else self.model
        found = []
        for one in edits:
            told = log_probabilities(model, self.tokenizer, one.prompt(told=False), [one.text, one.draft])
            sizes = [len(self.tokenizer(text)["input_ids"]) + 1 for text in (one.text, one.draft)]
            found.append([nats / size for nats, size in zip(told, sizes, strict=True)])
        if adapter:
            self.model = model.unload()
        return found


def played(model: Model, work: Work, user: int, count: int, bars: Progress, bar: TaskID) -> list[Edited]:
    """The first ``count`` edits of a user; drafts are written once."""
    world = EverydayEnvironment(seed=user, rounds=count, families="dev")
    for start in range(0, count, AT_ONCE):
        some = world.rounds[start : start + AT_ONCE]
        if any(work.get("draft", str(user), str(round.number)) is None for round in some):
            for round, text in zip(some, model.drafts([round.text for round in some]), strict=True):
                work.add("draft", str(user), str(round.number), text=text)
        bars.advance(bar, len(some))
    found = []
    for round in world.rounds:
        draft = str((work.get("draft", str(user), str(round.number)) or {})["text"])
        found.append(Edited(round.text, world.wants(round), draft, asyncio.run(world.edit(round, draft))))
    return found


def train(trials: Sequence[Trial], edits: dict[int, list[Edited]], model: Path, folder: Path) -> None:
    """Train those that are not trained yet, all of one rank in one program. Raises ``TrainingFailed``."""
    for rank in dict.fromkeys(trial.rank for trial in trials):
        left = []
        for trial in (trial for trial in trials if trial.rank == rank):
            recipe = Recipe(
                rank=rank, alpha=2 * rank, learning_rate=trial.rate, epochs=trial.epochs, min_steps=1, niceness=0
            )
            rows = (
                {"prompt": one.prompt(told), "completion": [{"role": "assistant", "content": one.text}]}
                for one in edits[trial.user][: trial.edits]
                for told in (False, True)
            )
            if training_folder.write(folder / trial.id, TrainingJob(str(model), fitted(recipe, model)), rows):
                left.append(folder / trial.id)
        if left:
            asyncio.run(run_batched(left, TRAIN_SECONDS))


def compared(scores: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How much likelier the users' texts are than to the base model, and how much their lead over the drafts grew."""
    ours, theirs = np.array(scores), np.array(base)
    likelier, lead = (ours - theirs)[:, 0], (ours[:, 0] - ours[:, 1]) - (theirs[:, 0] - theirs[:, 1])
    told: dict[str, Any] = {}
    for name, values in (("likelier", likelier), ("lead", lead)):
        mean, interval = paired_interval(values)
        told |= {name: round(mean, 4), f"{name}_interval": [round(end, 4) for end in interval]}
    return told


def rates(
    model: Annotated[str, typer.Option(help="A name of `attune models list` that is fetched, or a folder.")],
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 2,
    edits: Annotated[list[int] | None, typer.Option(min=4, help="Numbers of edits; may come again.")] = None,
    rate: Annotated[list[float] | None, typer.Option(min=1e-6, help="Learning rates; may come again.")] = None,
    epochs: Annotated[list[float] | None, typer.Option(min=0.5, help="Epochs; may come again.")] = None,
    rank: Annotated[list[int] | None, typer.Option(min=1, help="Ranks; may come again.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="The run's folder; it goes on there.")] = Path("out/rates"),
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-rates.json"),
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/training.md.")] = False,
) -> None:
    """Try learning rates, epochs and ranks on a real model."""
    import torch

    from server.settings import Settings

    source = Settings(model=model).model_folder
    if source is None:
        raise typer.BadParameter(f"{model} is no folder and no name of a fetched model.")
    trials = [
        Trial(user, count, speed, times, width)
        for user in range(users)
        for count in edits or [8, 24]
        for speed in rate or [2e-4, 1e-3, 3e-3]
        for times in epochs or [4.0]
        for width in rank or [8]
    ]
    most = max(trial.edits for trial in trials)
    work = Work(folder / "work.jsonl", anew="--out takes another folder")
    try:
        work.begin(model=model, room=ROOM, edits=most)  # requests and tested edits follow from it
    except NotThisRun as error:
        raise typer.BadParameter(str(error)) from None
    with progress(Console(stderr=True)) as bars:
        base = Model(source)
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
        bar = bars.add_task("drafts and edits", total=users * (most + TESTED))
        made = {user: played(base, work, user, most + TESTED, bars, bar) for user in range(users)}
        training = bars.add_task("adapters trained", total=len(trials))
        train(trials, made, source, folder)
        bars.update(training, completed=len(trials))
        scoring = bars.add_task("adapters tried on later edits", total=len(trials) + users)
        for user in range(users):
            if work.get("scored", "base", str(user)) is None:
                work.add("scored", "base", str(user), scores=base.scores(None, made[user][most:]))
            bars.advance(scoring)
        for trial in trials:
            if work.get("scored", "trial", trial.id) is None:
                scores = base.scores(folder / trial.id / "adapter", made[trial.user][most:])
                work.add("scored", "trial", trial.id, scores=scores)
            bars.advance(scoring)
    told = [_told(trial, work, folder) for trial in trials]
    result = {**machine.about(), "model": model, "tested": TESTED, "trials": told}
    document = rates_report.DOCS if write_docs else None
    report.conclude(result, rates_report.parts(result), [out], document, rates_report.MARK)


def _told(trial: Trial, work: Work, folder: Path) -> dict[str, Any]:
    figures = json.loads((folder / trial.id / FIGURES).read_text())
    base = (work.get("scored", "base", str(trial.user)) or {})["scores"]
    scores = (work.get("scored", "trial", trial.id) or {})["scores"]
    kept = {name: figures[name] for name in ("steps", "rows", "tokens", "loss_last", "peak_gib", "seconds", "users")}
    return {**vars(trial), **kept, **compared(scores, base)}


if __name__ == "__main__":
    typer.run(rates)
