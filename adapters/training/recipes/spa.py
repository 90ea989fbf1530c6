"""SPA: few human pairs are spread over pairs that the adapter writes and labels itself (arXiv 2406.04412).

A round draws two answers to each prompt. The one that gained more from the adapter, by log p_adapter - log p_base, is
chosen: that is DPO's own reward, and needs no second model. One epoch of DPO follows, from the adapter as it is. Labels
can be wrong: after 20% of the steps, own pairs of the lowest margins are learned with smoothed ones.
"""

import json
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.training.recipes import pairs
from adapters.training.recipes.sampling import answers, log_probabilities, room_for
from adapters.training.recipes.setup import Row, Setup

MAX_PROMPTS = 64
MIN_PAIRS = 8
HUMAN_SHARE = 0.25
"""Of each batch: what the user really wrote keeps its say."""
SMOOTHING, LOWEST, UNSMOOTHED = 0.1, 0.1, 0.2
"""How much a label is smoothed, below which quantile of the margins so far, and after which share of the steps."""
DRIFT = 1.25
"""A round whose chosen answers are so many times longer or shorter than the user's texts is not learned from."""


class SmoothedTrainer(pairs.PairTrainer):
    """DPO on human and own pairs, ``own`` being 1.0 for the latter."""

    column = "own"

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.margins: deque[float] = deque(maxlen=256)
        self.smoothed = 0

    def pair_loss(self, loss: Callable[[], Tensor], value: float) -> Tensor:
        """With the label smoothed by s the loss at margin m is -(1-s) log σ(m) - s log σ(-m) = -log σ(m) + s m."""
        plain = loss()
        if not value:
            return plain
        margin = margin_of(plain)
        low = np.quantile(self.margins, LOWEST) if self.margins else -np.inf
        self.margins.append(margin.item())
        if self.state.global_step < UNSMOOTHED * self.state.max_steps or margin.item() >= low:
            return plain
        self.smoothed += 1
        return plain + SMOOTHING * margin


def margin_of(loss: Tensor) -> Tensor:
    """The margin m that TRL keeps to itself, from its loss -log σ(m): -log(e^loss - 1), with its gradient."""
    return -loss - torch.log1p(-torch.exp(-loss))


def expand(model: Any, tokenizer: Any, human: Sequence[Row], seed: int) -> list[Row]:
    """Own pairs: two different answers to each of the first prompts, labelled. ``model`` is a ``PeftModel``."""
    prompts = list({json.dumps(pair["prompt"]): pair["prompt"] for pair in human}.values())[:MAX_PROMPTS]
    room = room_for(tokenizer, [pair["chosen"][0]["content"] for pair in human])
    drawn = answers(model, tokenizer, prompts, max_tokens=room, samples=2, seed=seed)
    made = []
    for prompt, texts in zip(prompts, drawn, strict=True):
        if len(set(texts)) > 1:
            chosen, rejected = ranked(model, tokenizer, prompt, texts)
            made.append({"prompt": prompt, "chosen": _said(chosen), "rejected": _said(rejected)})
    return made


def ranked(model: Any, tokenizer: Any, prompt: list[Row], texts: Sequence[str]) -> list[str]:
    """Texts by how much likelier the adapter of ``model`` made them, the most first."""
    ours = log_probabilities(model, tokenizer, prompt, texts)
    with model.disable_adapter():
        base = log_probabilities(model, tokenizer, prompt, texts)
    gained = {text: mine - theirs for text, mine, theirs in zip(texts, ours, base, strict=True)}
    return sorted(texts, key=gained.__getitem__, reverse=True)


def drift(own: Sequence[Row], human: Sequence[Row]) -> float:
    """How many times longer the own chosen answers are than the user's texts, in characters on average."""
    mine, theirs = (float(np.mean([len(pair["chosen"][0]["content"]) for pair in pairs])) for pairs in (own, human))
    return mine / max(1.0, theirs)


def mixed(own: Sequence[Row], human: Sequence[Row], batch_size: int, seed: int) -> list[Row]:
    """All own pairs once, in batches with ``HUMAN_SHARE`` human ones, which come round again as often as it takes."""
    rng = random.Random(seed)
    of_human = max(1, round(HUMAN_SHARE * batch_size))
    size = max(1, batch_size - of_human)
    ours = [{**pair, "own": 1.0} for pair in rng.sample(list(own), len(own))]
    theirs = cycle([{**pair, "own": 0.0} for pair in rng.sample(list(human), len(human))])
    rows: list[Row] = []
    for start in range(0, len(ours), size):
        rows += [*ours[start : start + size], *islice(theirs, of_human)]
    return rows


def rounds(
    setup: Setup,
    model: Any,
    examples: Sequence[Row],
    fit: Callable[[Any], tuple[Any, dict[str, float]]],
    rate: float,
) -> tuple[Any, list[dict[str, Any]]]:
    """The objective's rounds after a training on ``examples``, at a learning rate; the model, and what came of each.

    A round that found too few pairs, or whose answers drifted in length, is not learned from and is the last.
    """
    human = [{k: pair[k] for k in ("prompt", "chosen", "rejected")} for pair in examples]
    human = [pair for pair in human if pair["chosen"] != pair["rejected"]]
    report: list[dict[str, Any]] = []
    for number in range(1, setup.objective.spa_rounds + 1):
        seed = setup.arguments["seed"] + number
        own = expand(model, setup.tokenizer, human, seed)
        ratio = drift(own, human) if own else 0.0
        learned = len(own) >= MIN_PAIRS and 1 / DRIFT <= ratio <= DRIFT
        report.append({"pairs": len(own), "length_ratio": round(ratio, 3), "learned": learned})
        if not learned:
            break
        rows = mixed(own, human, setup.batch_size, seed)
        steps = math.ceil(len(rows) / setup.batch_size)
        onward = setup.onward(model, max_steps=steps, warmup_steps=max(1, steps // 10), seed=seed, learning_rate=rate)
        trainer = pairs.build(SmoothedTrainer, onward, rows, train_sampling_strategy="sequential")
        model, course = fit(trainer)
        report[-1] |= {**course, "steps": steps, "smoothed": trainer.smoothed}
    return model, report


def _said(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]
