"""The trainer, a program of its own: LoRA on what a user made of drafts, by one of the recipes in ``recipes/``.

    python -m adapters.training.trainer DIR

Reads DIR/job.json, DIR/train.jsonl and, to train a version on, DIR/serving. Writes DIR/adapter (peft safetensors) and
DIR/figures.json, and prints progress as JSON lines. Runs at low priority, with few threads and no network; equal input
and threads give equal weights.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training.amount import SMALL_MODEL, amount

PARENT = "serving"
"""The folder in DIR with the adapter that training goes on from."""
FIGURES = "figures.json"
"""In DIR, what is known of the training: the last file that it writes."""
_COURSES = {"loss": "loss", "margin": "rewards/margins", "chosen": "rewards/chosen", "rejected": "rewards/rejected"}


@dataclass(frozen=True)
class TrainingJob:
    """DIR/job.json: the base model's directory and the recipe."""

    model: str
    recipe: Recipe

    def write(self, directory: Path) -> None:
        """Write DIR/job.json."""
        (directory / "job.json").write_text(json.dumps(asdict(self), indent=2))

    @staticmethod
    def read(directory: Path) -> "TrainingJob":
        """Read DIR/job.json; an unknown field is an error."""
        job = json.loads((directory / "job.json").read_text())
        recipe = job.pop("recipe")
        recipe["target_modules"] = tuple(recipe["target_modules"])
        recipe["objective"] = Objective(**recipe.get("objective", {}))
        return TrainingJob(**job, recipe=Recipe(**recipe))


def lora_config(recipe: Recipe) -> Any:
    """peft's configuration of an adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


def settled(recipe: Recipe, size: int, rows: int) -> Recipe:
    """``recipe`` with everything in place that it leaves open, for a base model of ``size`` and so many rows."""
    usual = amount(size, rows)
    return replace(
        recipe,
        epochs=usual.epochs if recipe.epochs is None else recipe.epochs,
        min_steps=usual.min_steps if recipe.min_steps is None else recipe.min_steps,
        batch_size=usual.batch_size if recipe.batch_size is None else recipe.batch_size,
    )


def steps_for(rows: int, recipe: Recipe, size: int) -> int:
    """Optimizer steps for so many rows."""
    told = settled(recipe, size, rows)
    assert told.epochs is not None
    assert told.min_steps is not None
    assert told.batch_size is not None
    return min(told.max_steps, max(told.min_steps, math.ceil(told.epochs * rows / told.batch_size)))


def train(directory: Path, job: TrainingJob) -> dict[str, Any]:
    """Train as ``job`` says on DIR/train.jsonl; returns what DIR/figures.json holds.

    A recipe that has too few rows gives way to SFT, and the figures say so. Raises ``ValueError`` when no row fits.
    """
    parent = os.getppid()  # before anything that takes a while
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    started = time.monotonic()
    import torch
    from datasets import disable_progress_bars
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    from adapters.training.recipes import contrast, dpo, ensemble, kto, sft, spa
    from adapters.training.recipes.memory import activation_bytes, activation_room, logit_bytes, peak_gib
    from adapters.training.recipes.setup import Setup

    disable_progress_bars()
    recipe, objective = job.recipe, job.recipe.objective
    torch.set_num_threads(recipe.threads)
    cuda = torch.cuda.is_available()
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(job.model, dtype="auto" if cuda else torch.float32)
    model.to("cuda" if cuda else "cpu")

    rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
    more = [
        row
        for other in ("contrast", "corrupted")
        if getattr(objective, other)
        for row in contrast.expand(model, tokenizer, rows, recipe.max_tokens, other)
    ]
    chosen: Any = {"sft": sft, "dpo": dpo, "kto": kto, "ensemble": ensemble}[objective.name]
    kept, longest, too_long = _fitting(chosen.examples([*rows, *more], objective), tokenizer, recipe.max_tokens)
    lacking = chosen.lacks(kept)
    if lacking:
        chosen, objective = sft, Objective(continued=objective.continued)
        kept, longest, too_long = _fitting(sft.examples(rows, objective), tokenizer, recipe.max_tokens)
    if not kept:
        raise ValueError(f"none of the {len(rows)} training rows fits into {recipe.max_tokens} tokens")

    size = model.num_parameters()
    steps, recipe = steps_for(len(kept), recipe, size), settled(recipe, size, len(kept))
    assert recipe.batch_size is not None
    rate = recipe.learning_rate or chosen.RATES[size >= SMALL_MODEL]
    tokens = recipe.batch_size * chosen.SEQUENCES * longest
    bytes_each = model.dtype.itemsize
    needed = activation_bytes(model.config, bytes_each, tokens) + logit_bytes(model.config, bytes_each, tokens)
    checkpointing = needed > activation_room(recipe.activation_gib)
    continued = objective.continued and (directory / PARENT).is_dir()
    if continued:
        model = PeftModel.from_pretrained(model, str(directory / PARENT), is_trainable=True)
    setup = Setup(
        model=model,
        tokenizer=tokenizer,
        lora=None if continued else lora_config(recipe),
        objective=objective,
        batch_size=recipe.batch_size,
        arguments={
            "output_dir": str(directory / "trainer"),
            "max_steps": steps,
            "learning_rate": rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": max(1, steps // 10),
            "gradient_checkpointing": checkpointing,
            "use_cpu": not cuda,
            "bf16": cuda and model.dtype == torch.bfloat16,
            "seed": recipe.seed,
            "data_seed": recipe.seed,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        },
        callbacks=(_progress_callback(parent),),
    )
    trained, course = fit(chosen.trainer(setup, kept))
    figures = {
        **course,
        "steps": steps,
        "rows": len(kept),
        "rows_too_long": too_long,
        "rows_by_kind": {
            "edited": sum("rejected" in row and "ranked" not in row for row in rows),
            "accepted": sum("rejected" not in row and "label" not in row for row in rows),
            "thumbs": sum("label" in row for row in rows),
            "ranked": sum("ranked" in row for row in rows),
            "contrast": len(more),
        },
        "recipe": objective.name,
        "instead_of": {"recipe": job.recipe.objective.name, "reason": lacking} if lacking else None,
        "continued": continued,
        "learning_rate": rate,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "gradient_checkpointing": checkpointing,
        "base_parameters": size,
        "device": "cuda" if cuda else "cpu",
    }
    if objective.spa_rounds:
        onward = recipe.learning_rate or dpo.RATES[size >= SMALL_MODEL]  # its rounds are DPO, whatever came before
        trained, figures["spa"] = spa.rounds(setup, trained, kept, fit, onward)
        figures["tokens"] += sum(learned.get("tokens", 0) for learned in figures["spa"])
    # A reference beside it, which TRL made, is no part of the version.
    trained.save_pretrained(str(directory / "adapter"), selected_adapters=["default"])
    (directory / "adapter" / "README.md").unlink(missing_ok=True)
    figures["peak_gib"] = peak_gib()
    figures["seconds"] = round(time.monotonic() - started, 2)
    (directory / FIGURES).write_text(json.dumps(figures, indent=2))
    return figures


def fit(trainer: Any) -> tuple[Any, dict[str, float]]:
    """Train; the ``PeftModel``, first and last of the loss and of each reward that TRL logged, and the tokens read."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    course: dict[str, float] = {}
    for name, key in _COURSES.items():
        values = [entry[key] for entry in trainer.state.log_history if key in entry]
        if values:
            course |= {f"{name}_first": values[0], f"{name}_last": values[-1]}
    course["tokens"] = max(entry.get("num_tokens", 0) for entry in trainer.state.log_history)
    return trainer.model, course


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(
        prog="python -m adapters.training.trainer", description="Train one user's LoRA adapter."
    )
    parser.add_argument("directory", type=Path, help="with job.json and train.jsonl; receives adapter/, figures.json")
    directory: Path = parser.parse_args().directory
    job = TrainingJob.read(directory)
    os.nice(job.recipe.niceness)
    print(json.dumps({"event": "done", **train(directory, job)}), flush=True)


def _fitting(
    examples: Sequence[dict[str, Any]], tokenizer: Any, max_tokens: int
) -> tuple[list[dict[str, Any]], int, int]:
    """The examples all of whose texts fit, the most tokens one of these has, and how many were left out."""
    lengths = [_tokens(tokenizer, example) for example in examples]
    kept = [example for example, length in zip(examples, lengths, strict=True) if length <= max_tokens]
    return kept, max((n for n in lengths if n <= max_tokens), default=0), len(examples) - len(kept)


def _tokens(tokenizer: Any, example: dict[str, Any]) -> int:
    answers = [example[name] for name in ("completion", "chosen", "rejected") if name in example]
    texts = [tokenizer.apply_chat_template(example["prompt"] + answer, tokenize=False) for answer in answers]
    return max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def _progress_callback(parent: int) -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Says where training stands, and ends it when whoever started it is gone."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                step = {"event": "step", "step": state.global_step, "steps": state.max_steps, "loss": logs["loss"]}
                print(json.dumps({**step, "at": time.time()}), flush=True)
            if os.getppid() != parent:
                sys.exit("the process that started this training is gone")

    return Progress()


if __name__ == "__main__":
    main()
