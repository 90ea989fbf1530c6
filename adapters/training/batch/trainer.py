"""Many users' adapters in one pass: what `training/trainer.py` does for one by SFT, for all at once, with equal losses.

    python -m adapters.training.batch.trainer DIR DIR ...

Each DIR is one user's, with what `training/trainer.py` reads, and receives what that writes once the user is done;
progress goes to DIR/progress.jsonl. A user who cannot be trained here, or whose DIR goes, stops nobody else. The frozen
base runs over batches that mix users' rows (`packing.py`), each token through its user's own LoRA (`lora.py`).
A user's batches, schedule, clipping and optimizer (`adamw.py`) are as if alone.
"""

import argparse
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.recipe import Recipe
from adapters.training import progress
from adapters.training.amount import SMALL_MODEL
from adapters.training.trainer import FIGURES, PARENT, TrainingJob, lora_config, settled, steps_for

if TYPE_CHECKING:
    from adapters.training.batch.lora import StackedLora
    from adapters.training.batch.packing import Row, UserRow

CPU_TOKENS = 2048
"""Tokens of one pass on a CPU: more do not fit its caches, and gain nothing."""
_OWN = (
    "learning_rate", "epochs", "min_steps", "max_steps", "batch_size", "max_tokens", "seed", "niceness", "objective",
)  # fmt: skip
"""Fields of the recipe that may differ from user to user."""


@dataclass
class BatchMember:
    """One user's rows and schedule. ``losses`` has one for each step done, which read ``tokens`` together.

    ``size`` is the base model's number of parameters.

    Whose directory is ``gone`` learns no more: a cancelled version, or an erased user.
    """

    directory: Path
    recipe: Recipe
    rows: "list[Row]"
    too_long: int
    rate: float
    size: int
    kinds: Counter[str] = field(default_factory=Counter)
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    gone: bool = False

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return steps_for(len(self.rows), self.recipe, self.size)

    @property
    def start(self) -> int | Path:
        """The seed of the first weights, or the directory of the version to go on from."""
        serving = self.directory / PARENT
        return serving if self.recipe.objective.continued and serving.is_dir() else self.recipe.seed

    def batches(self) -> "Iterator[list[Row]]":
        """The rows of each step, without end, in the order of transformers' trainer: every epoch has its own seed."""
        import torch

        width = self.recipe.batch_size
        assert width is not None  # it was settled
        for epoch in count():
            generator = torch.Generator().manual_seed(self.recipe.seed + epoch)
            order = torch.randperm(len(self.rows), generator=generator).tolist()
            for start in range(0, len(order), width):
                yield [self.rows[i] for i in order[start : start + width]]

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: a linear warm-up, then a cosine down to zero."""
        warmup = max(1, self.steps // 10)
        if step < warmup:
            return self.rate * step / warmup
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))

    def say(self, event: str, **what: Any) -> None:
        """Add a line to DIR/progress.jsonl."""
        # The file was made at the start, and is not made here: somebody may be removing all of DIR.
        with self._writing(), (self.directory / progress.FILE).open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.write(json.dumps({"event": event, **what, "at": time.time()}) + "\n")

    def finish(self, lora: "StackedLora", user: int, figures: dict[str, Any]) -> None:
        """Write DIR/adapter, and DIR/figures.json when all of that is there."""
        with self._writing():
            lora.save(user, self.directory / "adapter")
            written = self.directory / f"{FIGURES}.part"
            written.write_text(json.dumps(figures, indent=2))
            written.rename(self.directory / FIGURES)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self.gone = True


def train_many(directories: Sequence[Path], tokens_at_once: int | None = None) -> list[dict[str, Any] | None]:
    """Train each directory's user as its job says; what each DIR/figures.json holds, None for whom none is written.

    That is who has no row that fits, rows that cannot be read, or a directory that went away. The jobs have to be
    ``mixable``, else ``ValueError``. A pass has ``tokens_at_once`` tokens at most, by default what fits the device
    and the recipe's ``activation_gib``; beside that, a user takes 16 bytes for each LoRA weight.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    started, parent = time.monotonic(), os.getppid()
    jobs = _jobs(directories)
    if not jobs:
        return [None for _ in directories]
    shared = next(iter(jobs.values()))
    if not all(mixable(shared, job) for job in jobs.values()):
        raise ValueError(f"jobs that train at once are SFT, and differ in nothing but {', '.join(_OWN)}")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from adapters.training.batch.adamw import StackedAdamW
    from adapters.training.batch.lora import StackedLora
    from adapters.training.batch.packing import backward, passes, use_packed_attention
    from adapters.training.recipes.memory import activation_bytes, activation_room, logit_bytes

    torch.set_num_threads(shared.recipe.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(shared.model)
    model: Any = AutoModelForCausalLM.from_pretrained(shared.model, dtype="auto" if device == "cuda" else torch.float32)
    model.to(device).train()
    use_packed_attention(model)
    size = model.num_parameters()
    members = [_member(directory, job, tokenizer, size) for directory, job in jobs.items()]
    # The longest learner comes first, so that those who still learn are always the first of the stack.
    stack = sorted((member for member in members if member and member.rows), key=lambda member: -member.steps)
    if not stack:
        return [None for _ in directories]

    room = activation_room(shared.recipe.activation_gib)
    bytes_each = model.dtype.itemsize
    token = activation_bytes(model.config, bytes_each, 1) + logit_bytes(model.config, bytes_each, 1)
    fitting = max(1, int(room / token))
    tokens = tokens_at_once or (fitting if device == "cuda" else min(fitting, CPU_TOKENS))
    if max(len(row.ids) for member in stack for row in member.rows) > fitting:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    lora = StackedLora(model, lora_config(shared.recipe), [member.start for member in stack])
    optimizer = StackedAdamW(lora.weights, lora.gradients)
    batches = [member.batches() for member in stack]
    about = {
        "users": len(stack),
        "gradient_checkpointing": model.is_gradient_checkpointing,
        "base_parameters": size,
        "device": device,
    }
    figures: dict[Path, dict[str, Any]] = {}
    for step in range(stack[0].steps):
        learning = [member for member in stack if step < member.steps]
        losses = torch.zeros(len(learning), device=device)
        rows = [one for user, member in enumerate(learning) for one in _placed(user, member, batches[user])]
        for some in passes(rows, tokens):
            losses += backward(model, lora.routing, some, len(learning))
        optimizer.step([member.rate_at(step) for member in learning])
        for user, (member, loss) in enumerate(zip(learning, losses.tolist(), strict=True)):
            if member.gone:
                continue
            member.losses.append(loss)
            member.say("step", step=step + 1, steps=member.steps, loss=loss)
            if step + 1 == member.steps:
                found = _figures(member, started, about)
                member.finish(lora, user, found)
                if not member.gone:
                    figures[member.directory] = found
        if os.getppid() != parent:
            sys.exit("the process that started this training is gone")
        if all(member.gone for member in learning):
            break
    return [figures.get(directory) for directory in directories]


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m adapters.training.batch.trainer", description="Train many users' LoRA adapters."
    )
    parser.add_argument(
        "directories", type=Path, nargs="+", help="each as python -m adapters.training.trainer takes it"
    )
    directories: list[Path] = parser.parse_args().directories
    os.nice(max((job.recipe.niceness for job in _jobs(directories).values()), default=0))
    for directory, figures in zip(directories, train_many(directories), strict=True):
        print(json.dumps({"directory": str(directory), "figures": figures}), flush=True)


def mixable(one: TrainingJob, other: TrainingJob) -> bool:
    """Whether both can be trained at once: by SFT, on one base model, with recipes that differ only in ``_OWN``."""
    own = {name: getattr(one.recipe, name) for name in _OWN}
    alike = replace(other, recipe=replace(other.recipe, **own)) == one
    objectives = one.recipe.objective, other.recipe.objective
    return alike and all(objective.name == "sft" for objective in objectives)


def _jobs(directories: Sequence[Path]) -> dict[Path, TrainingJob]:
    """The jobs of those directories that are still there."""
    return {directory: TrainingJob.read(directory) for directory in directories if directory.is_dir()}


def _member(directory: Path, job: TrainingJob, tokenizer: Any, size: int) -> BatchMember | None:
    """The member of a directory; None for one whose rows cannot be read, which ``training/trainer.py`` can tell."""
    from adapters.training.batch.packing import row_of
    from adapters.training.recipes.sft import RATES

    try:
        lines = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
        rows = [row_of(tokenizer, line["prompt"], line["completion"]) for line in lines]
        (directory / progress.FILE).write_text("")
    except Exception as error:  # a chat template raises what it likes
        print(f"{directory.name} is left out: {type(error).__name__}", file=sys.stderr, flush=True)
        return None
    kept = [row for row in rows if len(row.ids) <= job.recipe.max_tokens]
    recipe = settled(job.recipe, size, len(kept))
    rate = job.recipe.learning_rate or RATES[size >= SMALL_MODEL]
    kinds = Counter("edited" if "rejected" in line else "accepted" for line in lines)
    return BatchMember(directory, recipe, kept, len(rows) - len(kept), rate, size, kinds)


def _placed(user: int, member: BatchMember, batches: "Iterator[list[Row]]") -> "list[UserRow]":
    """A user's rows of the next step: the loss is the mean over the tokens of all their completions."""
    from adapters.training.batch.packing import UserRow

    if member.gone:
        return []
    rows = next(batches)
    member.tokens += sum(len(row.ids) for row in rows)
    weight = 1 / max(1, sum(row.completion for row in rows))
    return [UserRow(row, user, weight) for row in rows]


def _figures(member: BatchMember, started: float, about: dict[str, Any]) -> dict[str, Any]:
    """What is known of a user whose last step is done: ``seconds`` and ``peak_gib`` are of all ``users`` until then."""
    from adapters.training.recipes.memory import peak_gib

    return {
        "loss_first": member.losses[0],
        "loss_last": member.losses[-1],
        "tokens": member.tokens,
        "steps": member.steps,
        "rows": len(member.rows),
        "rows_too_long": member.too_long,
        "rows_by_kind": {kind: member.kinds[kind] for kind in ("edited", "accepted", "thumbs", "ranked", "contrast")},
        "recipe": member.recipe.objective.name,
        "instead_of": None,
        "continued": isinstance(member.start, Path),
        "learning_rate": member.rate,
        "epochs": member.recipe.epochs,
        "batch_size": member.recipe.batch_size,
        **about,
        "peak_gib": peak_gib(),
        "seconds": round(time.monotonic() - started, 2),
    }


if __name__ == "__main__":
    main()
