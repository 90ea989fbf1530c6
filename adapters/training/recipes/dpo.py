"""DPO on edits: what the user made of a draft is preferred to the draft (arXiv 2305.18290).

The divergence that holds the adapter at its reference is f-DPO's choice (arXiv 2309.16240): reverse or forward KL,
Jensen-Shannon, alpha. Where some pairs are believed to be the wrong way round, the loss is rDPO's (arXiv 2403.00409).
"""

from collections.abc import Sequence
from typing import Any

from trl import DPOTrainer

from adapters.objective import Objective
from adapters.training.recipes import gap, pairs
from adapters.training.recipes.setup import Row, Setup

RATES = (1e-3, 5e-5)
"""TRL's default of 1e-6 is meant for all weights of a model: a LoRA would hardly move."""
SEQUENCES = 2
MIN_PAIRS = 8


def examples(rows: Sequence[Row], objective: Objective) -> list[Row]:
    """The rows whose draft was changed, and those of rankings, as pairs; a thumb is none."""
    return [pair(row, objective) for row in rows if "rejected" in row]


def pair(row: Row, objective: Objective) -> Row:
    """TRL's preference pair of a row, with the weight of its gap where that is asked for."""
    made = {"prompt": row["prompt"], "chosen": row["completion"], "rejected": row["rejected"]}
    return {**made, gap.GapTrainer.column: gap.weight(row["cost"])} if objective.gap_weights else made


def lacks(found: Sequence[Row]) -> str | None:
    """Too few pairs teach what is accidental in them."""
    changed = sum(example["chosen"] != example["rejected"] for example in found)
    return None if changed >= MIN_PAIRS else f"{changed} pairs of draft and edit are too few: {MIN_PAIRS} are needed"


def trainer(setup: Setup, found: Sequence[Row], sft_weight: float | None = None) -> Any:
    """With ``sft_weight``, that much of the chosen texts' negative log-likelihood is added to the loss."""
    objective = setup.objective
    losses = {"robust" if objective.flipped else "sigmoid": 1.0}
    if sft_weight is not None:
        losses["sft"] = sft_weight
    return pairs.build(
        gap.GapTrainer if objective.gap_weights else DPOTrainer,
        setup,
        found,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        label_smoothing=objective.flipped,
    )
