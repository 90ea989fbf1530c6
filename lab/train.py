"""The recipe of the bundled model: a small Llama trained from scratch on the synthetic world, on a CPU.

    attune lab train --out out/model

Loss on answers only, length buckets, bfloat16 autocast, torch.compile; Muon (Jordan et al. 2024, torch.optim.Muon)
for matrices and AdamW for the rest. Phases of a fixed time budget, each with its own mix of skills and a cosine decay.
"""

import copy
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lab.examples import Example, Shares, training_examples
from lab.tokenizer import train_tokenizer

IGNORED = -100


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the learning rates are ``scale`` times the recipe's, and fall to 0 over ``minutes``."""

    minutes: float
    shares: Shares
    scale: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on besides the code and the machine's speed.

    Writing is learned sooner than inferring and merging, which the later phases therefore stress.
    """

    phases: tuple[Phase, ...] = (
        Phase(72, {"write": 0.52, "infer": 0.38, "merge": 0.10}),
        Phase(35, {"write": 0.25, "infer": 0.52, "merge": 0.23}, scale=0.5),
        Phase(14, {"write": 0.15, "infer": 0.45, "merge": 0.40}, scale=0.4),
    )
    seed: int = 0
    hidden: int = 192
    mlp: int = 512
    layers: int = 6
    heads: int = 6
    batch_tokens: int = 8192
    muon_lr: float = 0.02
    adamw_lr: float = 5e-3
    warmup_share: float = 0.01


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids and labels, both int64 [rows, tokens]; prompt and padding labels are ``IGNORED``."""

    ids: Tensor
    labels: Tensor


def build_model(recipe: Recipe, vocabulary: int, pad: int, end: int) -> LlamaForCausalLM:
    """A freshly initialised model with tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=recipe.hidden,
            intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=pad,
            bos_token_id=None,
            eos_token_id=end,
            dtype=torch.float32,
        )
    )


def encode(examples: list[Example], tokenizer: PreTrainedTokenizerFast) -> list[tuple[list[int], int]]:
    """Token ids of prompt and answer with the number of prompt tokens, in the tokenizer's own chat template."""
    prompts = [tokenizer.apply_chat_template(e.messages, tokenize=False, add_generation_prompt=True) for e in examples]
    answers = [f"{e.answer}{tokenizer.eos_token}" for e in examples]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
    return [(p + a, len(p)) for p, a in zip(prompt_ids, answer_ids, strict=True)]


def batches(recipe: Recipe, number: int, tokenizer: PreTrainedTokenizerFast, pool: int = 4096) -> Iterator[Batch]:
    """Endless batches of phase ``number``, about ``batch_tokens`` tokens each, rows of similar length together."""
    seed = recipe.seed + 1000 * number
    stream, rng = training_examples(seed, recipe.phases[number].shares), random.Random(seed)
    while True:
        rows = sorted(encode(list(islice(stream, pool)), tokenizer), key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], int]]] = [[]]
        for row in rows:
            width = _padded(len(row[0]))
            if groups[-1] and width * (len(groups[-1]) + 1) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield _batch(group, tokenizer.pad_token_id)


def train(recipe: Recipe, out: Path, checkpoint_minutes: float = 10.0) -> dict[str, Any]:
    """Train all phases; write model, tokenizer and ``recipe.json`` to ``out`` and return what the latter holds."""
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer(_texts(recipe, 20_000))
    model = build_model(recipe, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id)
    model.train()
    summary: dict[str, Any] = {
        **asdict(recipe), "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__,
    }  # fmt: skip
    for number in range(len(recipe.phases)):
        done = _train_phase(recipe, number, model, tokenizer, lambda: save(model, tokenizer, out), checkpoint_minutes)
        summary[f"phase_{number}"] = done
    save(model, tokenizer, out)
    (out / "recipe.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _train_phase(
    recipe: Recipe,
    number: int,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Callable[[], None],
    checkpoint_minutes: float,
) -> dict[str, Any]:
    phase = recipe.phases[number]
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=recipe.adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    base_rates = [recipe.muon_lr * phase.scale, recipe.adamw_lr * phase.scale]
    backbone = torch.compile(model.model, dynamic=True)
    started = saved = time.monotonic()
    tokens, steps, smooth = 0, 0, math.nan
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task(f"phase {number}", total=phase.minutes * 60)
        for batch in batches(recipe, number, tokenizer):
            elapsed = time.monotonic() - started
            done = elapsed / (phase.minutes * 60)
            if done >= 1:
                break
            scale = min(1.0, done / recipe.warmup_share) * 0.5 * (1 + math.cos(math.pi * done))
            for optimizer, rate in zip(optimizers, base_rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * max(scale, 1e-3)
            loss = _loss(model, backbone, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            steps, tokens = steps + 1, tokens + batch.ids.numel()
            smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
            progress.update(bar, completed=elapsed, description=f"phase {number} step {steps} loss {smooth:.4f}")
            if steps % 100 == 0:
                progress.console.print(
                    f"{elapsed:6.0f} s  step {steps}  loss {smooth:.4f}  {tokens / elapsed:,.0f} tokens/s"
                )
            if time.monotonic() - saved > checkpoint_minutes * 60:
                checkpoint()
                saved = time.monotonic()
    return {"steps": steps, "tokens": tokens, "final_loss": round(smooth, 5)}


def _loss(model: LlamaForCausalLM, backbone: Callable[..., Any], batch: Batch) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = backbone(input_ids=batch.ids).last_hidden_state[:, :-1]
        targets = batch.labels[:, 1:]
        wanted = targets != IGNORED
        logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), targets[wanted])


def _texts(recipe: Recipe, examples: int) -> Iterator[str]:
    for example in islice(training_examples(recipe.seed + 1, recipe.phases[0].shares), examples):
        for message in example.messages:
            yield message["content"]
        yield example.answer


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights as bfloat16 safetensors; the configuration asks for float32 so that greedy answers are stable."""
    out.mkdir(parents=True, exist_ok=True)
    stored = copy.deepcopy(model).bfloat16()
    stored.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(out)


def _padded(length: int, multiple: int = 16) -> int:
    return -(-length // multiple) * multiple


def _batch(rows: list[tuple[list[int], int]], pad: int) -> Batch:
    width = _padded(max(len(ids) for ids, _ in rows))
    tokens = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for i, (ids, prompt) in enumerate(rows):
        tokens[i, : len(ids)] = torch.tensor(ids)
        labels[i, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return Batch(tokens, labels)
