"""The trainer, a program of its own: LoRA on a user's edited texts with TRL, loss on the completions alone.

    python -m adapters.train DIR

Reads DIR/job.json and DIR/train.jsonl, writes DIR/adapter (peft safetensors) and DIR/figures.json, and prints progress
as JSON lines. Runs at low priority, with few threads and no network; equal input and threads give equal weights.
"""

import argparse
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SMALL_MODEL = 20_000_000
"""Parameters below which a model needs, and stands, a high learning rate."""


@dataclass(frozen=True)
class Recipe:
    """What the weights depend on besides base model and data. One rank and module set serves all users.

    ``learning_rate`` None means 3e-3 below ``SMALL_MODEL`` parameters and 2e-4 otherwise. Steps are ``epochs`` over
    the rows, within ``min_steps`` and ``max_steps``. Rows longer than ``max_tokens`` are left out, never cut.
    """

    rank: int = 8
    alpha: int = 16
    target_modules: tuple[str, ...] = LINEAR_LAYERS
    learning_rate: float | None = None
    epochs: float = 12.0
    min_steps: int = 32
    max_steps: int = 400
    batch_size: int = 8
    max_tokens: int = 2048
    seed: int = 0
    threads: int = max(1, (os.cpu_count() or 2) // 2)
    niceness: int = 5


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
        return TrainingJob(**job, recipe=Recipe(**{**recipe, "target_modules": tuple(recipe["target_modules"])}))


def steps_for(rows: int, recipe: Recipe) -> int:
    """Optimizer steps for so many rows."""
    return min(recipe.max_steps, max(recipe.min_steps, math.ceil(recipe.epochs * rows / recipe.batch_size)))


def train(directory: Path, job: TrainingJob) -> dict[str, Any]:
    """Train as ``job`` says on DIR/train.jsonl; returns what DIR/figures.json holds.

    Raises ``ValueError`` when no row fits.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    started = time.monotonic()
    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    recipe = job.recipe
    torch.set_num_threads(recipe.threads)
    cuda = torch.cuda.is_available()
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype="auto" if cuda else torch.float32)
    rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
    kept = [row for row in rows if _tokens(tokenizer, row) <= recipe.max_tokens]
    if not kept:
        raise ValueError(f"none of the {len(rows)} training rows fits into {recipe.max_tokens} tokens")
    size = model.num_parameters()
    rate = recipe.learning_rate or (3e-3 if size < SMALL_MODEL else 2e-4)
    steps = steps_for(len(kept), recipe)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(kept),
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            target_modules=list(recipe.target_modules),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=str(directory / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, steps // 10),
            completion_only_loss=True,
            max_length=None,
            gradient_checkpointing=size > 1_000_000_000,
            use_cpu=not cuda,
            bf16=cuda and model.dtype == torch.bfloat16,
            seed=recipe.seed,
            data_seed=recipe.seed,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        callbacks=[_progress_callback()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    cast(PeftModel, trainer.model).save_pretrained(str(directory / "adapter"))
    (directory / "adapter" / "README.md").unlink(missing_ok=True)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    figures = {
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "steps": steps,
        "seconds": round(time.monotonic() - started, 2),
        "rows": len(kept),
        "rows_too_long": len(rows) - len(kept),
        "learning_rate": rate,
        "base_parameters": size,
        "device": "cuda" if cuda else "cpu",
    }
    (directory / "figures.json").write_text(json.dumps(figures, indent=2))
    return figures


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m adapters.train", description="Train one user's LoRA adapter.")
    parser.add_argument("directory", type=Path, help="with job.json and train.jsonl; receives adapter/, figures.json")
    directory: Path = parser.parse_args().directory
    job = TrainingJob.read(directory)
    os.nice(job.recipe.niceness)
    print(json.dumps({"event": "done", **train(directory, job)}), flush=True)


def _tokens(tokenizer: Any, row: dict[str, Any]) -> int:
    text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _progress_callback() -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Says where training stands, and ends it when whoever started it is gone."""

        parent = os.getppid()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                step = {"event": "step", "step": state.global_step, "steps": state.max_steps, "loss": logs["loss"]}
                print(json.dumps({**step, "at": time.time()}), flush=True)
            if os.getppid() != self.parent:
                sys.exit("the process that started this training is gone")

    return Progress()


if __name__ == "__main__":
    main()
