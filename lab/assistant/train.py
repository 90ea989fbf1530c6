"""The recipe of the default model: a LoRA on a small base, trained on texts made by program, on a CPU, in bounded time.

Loss on completions alone; of general chat it is how far the model goes from the base model, token by token. A
checkpoint holds all that a later run needs to go on: weights, the optimizer's state, how many examples were read and
how long it took. The learning rate falls with the share of the time that is gone.
"""

import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from lab.assistant import chat, lora
from lab.assistant.examples import SHARES, Example, examples

IGNORED = -100
WIDTHS = 16
"""Batches are as wide as a multiple of it: memory of few sizes is used again."""
CHECKPOINT, CHATS, REPORT = "checkpoint.pt", "chats.json", "report.json"
SOURCES = (
    "lab/assistant/content.toml and wishes.toml, written for this purpose",
    "the base model's own answers to the requests of lab/assistant/chat.py",
)


Chat = tuple[str, str, bool]
"""A general request, the base model's answer, and whether that is whole."""
CHATS_AT_ONCE = 16
COMPILED_FROM = 10
"""Minutes of training from which on compiling, which takes one, is worth it."""


@dataclass(frozen=True)
class Recipe:
    """What the weights depend on besides the base model, the code and the machine's speed.

    A batch has about ``batch_tokens`` tokens; ``pool`` examples are sorted by length before they are put together.
    A token of general chat counts ``keep`` times: few are trained, and few nats may be lost.
    """

    minutes: float = 360
    seed: int = 0
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    batch_tokens: int = 3072
    max_tokens: int = 480
    pool: int = 96
    chats: int = 450
    chat_tokens: int = 112
    keep: float = 5.0
    threads: int = 2


@dataclass
class Course:
    """How far a training is: what a checkpoint says besides weights."""

    seconds: float = 0.0
    read: int = 0
    steps: int = 0
    tokens: int = 0
    completion_tokens: int = 0
    loss: float = math.nan


def train(base: Path, folder: Path, recipe: Recipe, console: Console) -> dict[str, Any]:
    """Train on ``base`` until ``recipe.minutes`` are spent, going on from ``folder``'s checkpoint; the report.

    Minutes are of processor time, for each thread: other work on the machine does not shorten a training.
    Ctrl-C, or a kill, loses at most a minute of work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    tokenizer = AutoTokenizer.from_pretrained(base)
    # On a CPU the plain attention is faster than the fused one for texts this short, forward and backward.
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="eager")
    chats = _chats(model, tokenizer, folder / CHATS, recipe, console)
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="eager")
    trained = lora.add(model, recipe.rank, recipe.alpha)
    optimizer = torch.optim.AdamW(trained.values(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    course = _resumed(trained, optimizer, folder / CHECKPOINT)
    if recipe.minutes >= COMPILED_FROM:
        lora.compiled(model)
    _run(model, plain, trained, tokenizer, optimizer, course, chats, folder, recipe, console)
    return _saved(trained, base, folder, course, recipe)


def _run(
    model: Any,
    plain: Any,
    trained: lora.Weights,
    tokenizer: Any,
    optimizer: torch.optim.Optimizer,
    course: Course,
    chats: Sequence[Chat],
    folder: Path,
    recipe: Recipe,
    console: Console,
) -> None:
    last, saved = _worked(recipe), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        bar = bars.add_task("training", total=recipe.minutes * 60, completed=int(course.seconds))
        for rows in batches(tokenizer, chats, course.read, recipe):
            gone = course.seconds / (recipe.minutes * 60)
            if gone >= 1:
                break
            rate = recipe.learning_rate * min(1.0, (course.steps + 1) / recipe.warmup_steps) * max(0.05, 1 - gone)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, completion = loss_of(model, plain, rows, tokenizer.pad_token_id, recipe.keep)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            now = _worked(recipe)
            course.seconds, last = course.seconds + now - last, now
            course.steps, course.read = course.steps + 1, course.read + len(rows)
            course.tokens += sum(len(row.ids) for row in rows)
            course.completion_tokens += completion
            value = loss.item()
            course.loss = value if math.isnan(course.loss) else 0.95 * course.loss + 0.05 * value
            said = f"step {course.steps}  loss {course.loss:.3f}  {course.tokens / course.seconds:.0f} tokens/s"
            bars.update(bar, completed=course.seconds, description=said)
            if course.steps % 10 == 0 and not console.is_terminal:
                console.print(f"{course.seconds:6.0f} s  {said}  {course.tokens} tokens", highlight=False)
            if time.monotonic() - saved > 60:
                _checkpoint(trained, optimizer, course, folder / CHECKPOINT)
                saved = time.monotonic()
    _checkpoint(trained, optimizer, course, folder / CHECKPOINT)


def _worked(recipe: Recipe) -> float:
    """Seconds that each thread has computed so far."""
    return time.process_time() / recipe.threads


class Row(NamedTuple):
    """Token ids, how many of them are the prompt's, and whether what the base model would say is to be kept."""

    ids: list[int]
    prompt: int
    kept: bool = False


def batches(tokenizer: Any, chats: Sequence[Chat], read: int, recipe: Recipe) -> Iterator[list[Row]]:
    """Endless batches, from the example number ``read`` on; rows of similar length are together."""
    stream = islice(examples(recipe.seed, chats), read, None)
    rng = random.Random(recipe.seed + read)
    while True:
        rows = [row for row in (encode(tokenizer, e) for e in islice(stream, recipe.pool)) if _fits(row, recipe)]
        rows.sort(key=lambda row: len(row.ids))
        groups: list[list[Row]] = [[]]
        for row in rows:
            if groups[-1] and len(row.ids) * (len(groups[-1]) + 1) > recipe.batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from groups


def encode(tokenizer: Any, example: Example) -> Row:
    """An example in the base model's own chat template."""
    prompt = tokenizer.apply_chat_template(
        example.messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] if example.whole else []
    return Row([*prompt, *answer, *end], len(prompt), example.skill == "chat")


def loss_of(model: Any, base: Any, rows: Sequence[Row], pad: int, keep: float) -> tuple[Tensor, int]:
    """The mean loss of a batch's completion tokens, and how many these are. Only for these logits are computed.

    Of rows that are kept it is ``keep`` times the divergence from what ``base`` expects of each token, of others the
    cross-entropy.
    """
    width = math.ceil(max(len(row.ids) for row in rows) / WIDTHS) * WIDTHS
    tokens = torch.full((len(rows), width), pad)
    targets = torch.full((len(rows), width), IGNORED)
    for at, row in enumerate(rows):
        tokens[at, : len(row.ids)] = torch.tensor(row.ids)
        targets[at, row.prompt - 1 : len(row.ids) - 1] = torch.tensor(row.ids[row.prompt :])
    wanted = targets != IGNORED
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[wanted]).float()
    kept = torch.tensor([row.kept for row in rows])
    of_kept = kept[:, None].expand_as(wanted)[wanted]
    loss = cross_entropy(logits[~of_kept], targets[wanted][~of_kept], reduction="sum")
    if kept.any():
        with torch.no_grad():
            known = base.model(input_ids=tokens[kept], use_cache=False).last_hidden_state[wanted[kept]]
            expected = log_softmax(base.lm_head(known).float(), dim=-1)
        divergence = kl_div(log_softmax(logits[of_kept], dim=-1), expected, reduction="sum", log_target=True)
        loss = loss + keep * divergence
    return loss / wanted.sum(), int(wanted.sum())


def _fits(row: Row, recipe: Recipe) -> bool:
    return len(row.ids) <= recipe.max_tokens


def _chats(model: Any, tokenizer: Any, file: Path, recipe: Recipe, console: Console) -> list[Chat]:
    """The base model's answers to general requests, made once and kept, a few at a time."""
    asked = chat.requests(random.Random(recipe.seed), recipe.chats)
    kept: list[Chat] = [tuple(row) for row in json.loads(file.read_text())] if file.exists() else []
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console) as bars:
        bar = bars.add_task("the base model answers general requests", total=len(asked), completed=len(kept))
        while len(kept) < len(asked):
            some = asked[len(kept) : len(kept) + CHATS_AT_ONCE]
            kept += own_answers(model, tokenizer, some, recipe.chat_tokens)
            part = file.with_suffix(".part")
            part.write_text(json.dumps(kept, ensure_ascii=False, indent=1))
            os.replace(part, file)
            bars.update(bar, completed=len(kept))
    return kept


def own_answers(
    model: Any, tokenizer: Any, asked: Sequence[str], tokens: int, *, sampled: bool = True, at_once: int = 32
) -> list[Chat]:
    """What ``model`` answers, and whether it came to an end in so many tokens."""
    found: list[Chat] = []
    tokenizer.padding_side = "left"
    how: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.95} if sampled else {"do_sample": False}
    for start in range(0, len(asked), at_once):
        some = asked[start : start + at_once]
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in some
        ]
        given = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            made = model.generate(**given, max_new_tokens=tokens, pad_token_id=tokenizer.pad_token_id, **how)
        for text, ids in zip(some, made[:, given["input_ids"].shape[1] :].tolist(), strict=True):
            end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else None
            found.append((text, tokenizer.decode(ids[:end], skip_special_tokens=True), end is not None))
    return found


def _resumed(trained: lora.Weights, optimizer: torch.optim.Optimizer, file: Path) -> Course:
    if not file.exists():
        return Course()
    held = torch.load(file, weights_only=True)
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(held["weights"][name])
    optimizer.load_state_dict(held["optimizer"])
    return Course(**held["course"])


def _checkpoint(trained: lora.Weights, optimizer: torch.optim.Optimizer, course: Course, file: Path) -> None:
    held = {
        "weights": {name: weight.detach() for name, weight in trained.items()},
        "optimizer": optimizer.state_dict(),
        "course": asdict(course),
    }
    part = file.with_suffix(".part")
    torch.save(held, part)
    os.replace(part, file)


def _saved(trained: lora.Weights, base: Path, folder: Path, course: Course, recipe: Recipe) -> dict[str, Any]:
    from lab.assistant.shipping import ship

    report = {
        **asdict(recipe), **asdict(course), "seconds": round(course.seconds), "loss": round(course.loss, 4),
        "shares": SHARES, "sources": SOURCES, "base": base.name, "torch": torch.__version__,
    }  # fmt: skip
    ship(trained, recipe.rank, recipe.alpha, base, folder / "adapter", report)
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return report
