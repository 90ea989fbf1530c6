"""The recipe of the bundled model: a small Llama trained from scratch on the synthetic world, on a CPU.

    attune lab train --minutes 75 --out lab/model

Loss on answers only, length buckets, bfloat16 autocast, torch.compile; Muon (Jordan et al. 2024, torch.optim.Muon)
for matrices and AdamW for the rest, cosine decay over a fixed time budget.
"""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lab.examples import Example, training_examples
from lab.tokenizer import train_tokenizer

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on besides the code and the machine's speed."""

    minutes: float = 75.0
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


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, pool: int = 4096) -> Iterator[Batch]:
    """An endless stream of batches of about ``batch_tokens`` tokens, rows of similar length together."""
    stream, rng = training_examples(recipe.seed), random.Random(recipe.seed)
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
    """Train for ``recipe.minutes``; write model, tokenizer and ``recipe.json`` to ``out``, and return the latter."""
    torch.manual_seed(recipe.seed)
    texts = (
        f"{m['content']}"
        for e in islice(training_examples(recipe.seed + 1), 20_000)
        for m in [*e.messages, {"content": e.answer}]
    )
    tokenizer = train_tokenizer(texts)
    model = build_model(recipe, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id)
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "embed" not in n)]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=recipe.adamw_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    base_rates = [recipe.muon_lr, recipe.adamw_lr]
    backbone = torch.compile(model.model, dynamic=True)
    started, saved, tokens, steps, smooth = time.monotonic(), time.monotonic(), 0, 0, math.nan
    model.train()
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as progress:
        bar = progress.add_task("training", total=recipe.minutes * 60)
        for batch in batches(recipe, tokenizer):
            elapsed = time.monotonic() - started
            done = elapsed / (recipe.minutes * 60)
            if done >= 1:
                break
            scale = min(1.0, done / recipe.warmup_share) * 0.5 * (1 + math.cos(math.pi * done))
            for optimizer, rate in zip(optimizers, base_rates, strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = rate * max(scale, 1e-3)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = backbone(input_ids=batch.ids).last_hidden_state[:, :-1]
                targets = batch.labels[:, 1:]
                wanted = targets != IGNORED
                logits = model.lm_head(hidden[wanted])
            loss = torch.nn.functional.cross_entropy(logits.float(), targets[wanted])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            steps, tokens = steps + 1, tokens + batch.ids.numel()
            smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
            progress.update(bar, completed=elapsed, description=f"step {steps} loss {smooth:.4f}")
            if steps % 100 == 0:
                progress.console.print(
                    f"{elapsed:6.0f} s  step {steps}  loss {smooth:.4f}  {tokens / elapsed:,.0f} tokens/s"
                )
            if time.monotonic() - saved > checkpoint_minutes * 60:
                save(model, tokenizer, out)
                saved = time.monotonic()
    save(model, tokenizer, out)
    summary = {
        **asdict(recipe), "steps": steps, "tokens": tokens, "final_loss": round(smooth, 5),
        "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__,
    }  # fmt: skip
    (out / "recipe.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights as bfloat16 safetensors; the configuration asks for float32 so that greedy answers are stable."""
    out.mkdir(parents=True, exist_ok=True)
    stored = build_model_like(model).to(torch.bfloat16)
    stored.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(out)


def build_model_like(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A separate copy of a model."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


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
