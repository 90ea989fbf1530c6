"""Is a candidate adapter better than what serves now? Measured on held-out edits through the real engine.

Each arm answers every held-out request greedily; its cost is the normalised word edit distance to what the user
made of the answer. The difference to serving is resampled over edits (paired bootstrap).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.dataset import HeldOut
from adapters.ports import AdapterHost
from preference.distance import normalised_distance
from preference.errors import EngineRejected

RESAMPLES = 2000
WORSE_BY, WORSE_BY_AT_MOST, TOKEN_SHARE = 0.02, 0.05, 0.9
"""At this share of the prompt tokens an arm may cost this much more on average, and at its interval's upper end."""
MIN_MEASURED = 4
CONCURRENCY = 4
MAX_ANSWER_TOKENS = 2048


@dataclass(frozen=True)
class Arm:
    """One way of serving. ``model`` is a loaded adapter's name, None the base model.

    ``preferences`` says which turns get the preferences that were applied when they were served: all, none, or the
    turns that version ``recorded_by`` itself served (a version that is served alone gets only what came after it).
    """

    name: str
    model: str | None
    preferences: bool
    recorded_by: int | None = None

    def messages(self, asked: HeldOut) -> list[dict[str, Any]]:
        """The prompt of a held-out request as this arm serves it."""
        return asked.messages(self.preferences or self.recorded_by == asked.adapter_version)


@dataclass(frozen=True)
class Measured:
    """An arm's cost on each held-out edit, in [0, 1], and its prompt tokens; the same edits for every arm."""

    name: str
    costs: tuple[float, ...]
    prompt_tokens: tuple[int, ...]
    with_values: tuple[bool, ...]


@dataclass(frozen=True)
class Verdict:
    """``mode`` is the best admitted arm's name, empty when refused; ``report`` is JSON-able and ends in a sentence."""

    admitted: bool
    mode: str
    report: dict[str, Any]


async def measure(host: AdapterHost, held_out: Sequence[HeldOut], arms: Sequence[Arm]) -> list[Measured]:
    """Answer every held-out request with every arm.

    An edit whose prompt the engine rejects for the first arm (too long for the model) is left out for all of them;
    any other rejection is raised, as is ``EngineUnavailable``.
    """
    limit = asyncio.Semaphore(CONCURRENCY)

    async def one(arm: Arm, asked: HeldOut) -> tuple[float, int]:
        # A token is rarely less than a character: whoever needs more room than this rambles, and pays for it anyway.
        room = min(MAX_ANSWER_TOKENS, 64 + len(asked.target))
        async with limit:
            answer = await host.generate(arm.messages(asked), max_tokens=room, model=arm.model)
        return normalised_distance(answer.text, asked.target), answer.prompt_tokens

    first = await asyncio.gather(*(one(arms[0], asked) for asked in held_out), return_exceptions=True)
    usable = [asked for asked, result in zip(held_out, first, strict=True) if not isinstance(result, BaseException)]
    for result in first:
        if isinstance(result, BaseException) and not isinstance(result, EngineRejected):
            raise result
    results = [[result for result in first if not isinstance(result, BaseException)]]
    for arm in arms[1:]:
        results.append(list(await asyncio.gather(*(one(arm, asked) for asked in usable))))
    return [
        Measured(
            name=arm.name,
            costs=tuple(cost for cost, _ in rows),
            prompt_tokens=tuple(tokens for _, tokens in rows),
            with_values=tuple(bool(asked.values) for asked in usable),
        )
        for arm, rows in zip(arms, results, strict=True)
    ]


def decide(serving: Measured, candidates: Sequence[Measured], *, seed: int = 0) -> Verdict:
    """Admit the candidate arm that is really better than serving, or as good with clearly fewer prompt tokens.

    Among admitted arms the one with fewer prompt tokens is preferred, unless another is really better than it.
    An arm that costs more on the edits whose requests stated values is refused: it forgets what was asked for.
    """
    report: dict[str, Any] = {"edits": len(serving.costs), "arms": {serving.name: _figures(serving)}}
    if len(serving.costs) < MIN_MEASURED:
        sentence = f"refused: only {len(serving.costs)} held-out edits could be measured, {MIN_MEASURED} are needed."
        return Verdict(False, "", {**report, "verdict": "refused", "sentence": sentence})
    admitted: list[Measured] = []
    for arm in candidates:
        difference, (low, high) = _interval(arm, serving, seed)
        share = sum(arm.prompt_tokens) / max(1, sum(serving.prompt_tokens))
        gain = high < 0
        cheaper = difference <= WORSE_BY and high <= WORSE_BY_AT_MOST and share <= TOKEN_SHARE
        values = _values_check(arm, serving)
        if (gain or cheaper) and values.get("passed", True):
            admitted.append(arm)
        report["arms"][arm.name] = {
            **_figures(arm),
            "difference": round(difference, 4),
            "interval": [round(low, 4), round(high, 4)],
            "token_share": round(share, 3),
            "better": gain,
            "as_good_with_fewer_tokens": cheaper,
            "values_check": values,
        }
    if not admitted:
        best = min(candidates, key=lambda arm: sum(arm.costs))
        report |= {"verdict": "refused", "sentence": _refusal(report, best.name, serving.name)}
        return Verdict(False, "", report)
    chosen = min(admitted, key=lambda arm: sum(arm.prompt_tokens))
    for arm in admitted:
        if arm is not chosen and _interval(arm, chosen, seed)[1][1] < 0:
            chosen = arm
    report |= {"verdict": "admitted", "mode": chosen.name, "sentence": _admission(report, chosen.name, serving.name)}
    return Verdict(True, chosen.name, report)


def paired_interval(
    differences: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, tuple[float, float]]:
    """Mean of paired differences and its 95% bootstrap interval (percentile method)."""
    picks = np.random.default_rng(seed).integers(0, len(differences), (resamples, len(differences)))
    low, high = np.quantile(differences[picks].mean(axis=1), (0.025, 0.975))
    return float(differences.mean()), (float(low), float(high))


def _interval(arm: Measured, other: Measured, seed: int) -> tuple[float, tuple[float, float]]:
    return paired_interval(np.asarray(arm.costs) - np.asarray(other.costs), seed=seed)


def _figures(arm: Measured) -> dict[str, float]:
    if not arm.costs:
        return {}
    return {
        "cost": round(float(np.mean(arm.costs)), 4),
        "prompt_tokens": round(float(np.mean(arm.prompt_tokens)), 1),
    }


def _values_check(arm: Measured, serving: Measured) -> dict[str, Any]:
    """Edits whose requests stated values, by themselves. The user's text obeys them, so forgetting them costs."""
    stated = [i for i, present in enumerate(serving.with_values) if present]
    if not stated:
        return {"edits": 0, "skipped": "no held-out edit has stated values"}
    difference = float(np.mean([arm.costs[i] - serving.costs[i] for i in stated]))
    return {"edits": len(stated), "difference": round(difference, 4), "passed": difference <= WORSE_BY_AT_MOST}


def _refusal(report: dict[str, Any], arm: str, serving: str) -> str:
    figures = report["arms"][arm]
    low, high = figures["interval"]
    if figures["better"] or figures["as_good_with_fewer_tokens"]:
        checked = figures["values_check"]
        return (
            f"refused: on the {checked['edits']} held-out edits with stated values {arm} costs "
            f"{checked['difference']:.2f} more than {serving}."
        )
    more = figures["difference"]
    compared = f"{abs(more):.2f} {'more' if more >= 0 else 'less'} than {serving}, interval [{low:.2f}, {high:.2f}],"
    return (
        f"refused: on {report['edits']} held-out edits {arm} costs {compared} at "
        f"{figures['token_share']:.0%} of its prompt tokens."
    )


def _admission(report: dict[str, Any], arm: str, serving: str) -> str:
    figures, before = report["arms"][arm], report["arms"][serving]
    low, high = figures["interval"]
    return (
        f"admitted as {arm}: on {report['edits']} held-out edits it costs {figures['cost']:.3f} where {serving} "
        f"costs {before['cost']:.3f} (difference [{low:.3f}, {high:.3f}]), at {figures['token_share']:.0%} of its "
        "prompt tokens."
    )
