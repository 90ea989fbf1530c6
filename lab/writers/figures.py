"""Own minus other: what was learned from a writer, tried on that writer's later texts, beside what others taught.

What is common to all writers, or to all lists of preferences, cancels: a constant list scores 0 for certain.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.evaluation.interval import paired_interval
from lab.work import Work
from lab.writers.data import Row, Split
from lab.writers.scoring import CONSTANT, NONE, Source, key_of

PERMUTATIONS = 10_000
PARTS = ("", "_changed")
"""All tokens of the texts; those alone that the edit changed."""

Gains = NDArray[np.float64]
"""[rows, writers of the text, sources], nats a token."""


def compared(work: Work, split: Split, sources: Sequence[Source], base: Source, scorer: str) -> dict[str, Any]:
    """The figures of one kind of source: own minus other by all tokens, and by those that were changed."""
    writers = list(split.writers)
    own = [source for source in sources if source.name in writers]
    told: dict[str, Any] = {}
    for part in PARTS:
        gains = np.array([[_gains(work, row, w, own, base, scorer, part) for w in writers] for row in split.tested])
        told["all_tokens" if not part else "changed_tokens"] = figures(gains, writers)
    constant = next((source for source in sources if source.name == CONSTANT), None)
    if constant is not None:
        over = np.array([[_gains(work, row, w, [constant], base, scorer, "") for w in writers] for row in split.tested])
        told["constant_list_gain"] = _mean(over.mean(axis=(1, 2)))
    return told


def figures(gains: Gains, writers: Sequence[str]) -> dict[str, Any]:
    """``own_minus_other`` with its interval over drafts, the same by writer, and how likely chance does as well.

    Under chance, who a source was learned from says nothing: sources are permuted within each draft.
    """
    differences = own_minus_other(gains)
    of_drafts = differences.mean(axis=1)
    return {
        "own_minus_other": _mean(of_drafts),
        "by_writer": {writer: _mean(differences[:, at]) for at, writer in enumerate(writers)},
        "own": _mean(np.array([[row[at, at] for at in range(len(writers))] for row in gains]).mean(axis=1)),
        "drafts_above_0": round(float((of_drafts > 0).mean()), 3),
        "p": round(_chance(gains, float(of_drafts.mean())), 4),
    }


def own_minus_other(gains: Gains) -> NDArray[np.float64]:
    """[rows, writers]: the gain by what was learned from the writer, less the mean gain by what was from the others."""
    number = gains.shape[1]
    own = np.diagonal(gains, axis1=1, axis2=2)
    others = (gains.sum(axis=2) - own) / (number - 1)
    difference: NDArray[np.float64] = own - others
    return difference


def _gains(
    work: Work, row: Row, writer: str, sources: Sequence[Source], base: Source, scorer: str, part: str
) -> list[float]:
    """By how many nats a token each source makes the writer's text likelier than nothing, less the draft's gain."""
    without = _scores(work, row, writer, base, scorer)
    found = []
    for source in sources:
        under = _scores(work, row, writer, source, scorer)
        gained = {name: _per_token(under[name + part], without[name + part]) for name in ("edited", "draft")}
        found.append(gained["edited"] - gained["draft"])
    return found


def _per_token(under: Sequence[float], without: Sequence[float]) -> float:
    return (under[0] - without[0]) / max(1, under[1])


def _scores(work: Work, row: Row, writer: str, source: Source, scorer: str) -> Mapping[str, Sequence[float]]:
    held = work.get("scored", source.kind, key_of(row, source, scorer))
    if held is None:
        raise ValueError(f"{row.id} has not been scored under {source.name or NONE} yet.")
    scores: Mapping[str, Sequence[float]] = held["texts"][writer]
    return scores


def _mean(values: NDArray[np.float64]) -> dict[str, Any]:
    mean, (low, high) = paired_interval(values)
    return {"mean": round(mean, 5), "interval": [round(low, 5), round(high, 5)]}


def _chance(gains: Gains, found: float) -> float:
    """The share of random assignments of sources to writers, draft by draft, that do as well."""
    rng, number = np.random.default_rng(0), gains.shape[1]
    total = gains.sum(axis=(1, 2))
    rows = np.arange(len(gains))[:, None]
    as_good = 0
    for _ in range(PERMUTATIONS):
        order = rng.permuted(np.tile(np.arange(number), (len(gains), 1)), axis=1)
        own = gains[rows, np.arange(number)[None, :], order].sum(axis=1)
        as_good += float(((own - (total - own) / (number - 1)) / number).mean()) >= found - 1e-12
    return (as_good + 1) / (PERMUTATIONS + 1)
