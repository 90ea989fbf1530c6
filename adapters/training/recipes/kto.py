"""KTO on single texts that are right or wrong (arXiv 2402.01306), by TRL's KTOTrainer: for thumbs, which have no pair.

What the user sent, accepted draft or edit, is desirable; a draft that was changed is undesirable. So is an answer by
its thumb, whatever was sent.
"""

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from adapters.objective import Objective
from adapters.training.recipes.setup import Row, Setup

RATES = (1e-3, 5e-5)
SEQUENCES = 1
MIN_EACH = 4


def examples(rows: Sequence[Row], objective: Objective) -> list[Row]:
    """Each text of each row by itself, with TRL's ``label``: True where it is desirable."""
    return [
        {"prompt": row["prompt"], "completion": row[text], "label": row.get("label", text == "completion")}
        for row in rows
        if "ranked" not in row  # better than another is not right
        for text in ("completion", "rejected")
        if text in row
    ]


def lacks(found: Sequence[Row]) -> str | None:
    """One kind alone only pushes, all answers at once."""
    good = sum(example["label"] for example in found)
    bad = len(found) - good
    if min(good, bad) >= MIN_EACH:
        return None
    return f"{good} right and {bad} wrong answers are too few: {MIN_EACH} of each are needed"


def trainer(setup: Setup, found: Sequence[Row]) -> Any:
    """Both kinds weigh the same in all, however many there are (the paper's equation 8)."""
    rows = _mixed(found, setup.batch_size, setup.arguments["seed"])
    good = sum(row["label"] for row in rows)
    bad = len(rows) - good
    args = KTOConfig(
        beta=setup.objective.beta,
        desirable_weight=max(1.0, bad / good),
        undesirable_weight=max(1.0, good / bad),
        max_length=None,
        per_device_train_batch_size=setup.batch_size,
        **setup.arguments,
    )
    return KTOTrainer(train_dataset=Dataset.from_list(rows), args=args, **setup.parts())


def _mixed(found: Sequence[Row], batch_size: int, seed: int) -> list[Row]:
    """In random order, filled up to whole batches: TRL estimates the divergence from a batch's texts under its
    neighbours' prompts, always in the same order, and a batch of one has no neighbour.
    """
    mixed = random.Random(seed).sample(list(found), len(found))
    return mixed + mixed[: -len(mixed) % batch_size]
