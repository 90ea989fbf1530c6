"""SFT and DPO on edits in one loss, their weighted sum: each covers where the other loses.

"Principled fine-tuning of LLMs from user-edits" (arXiv 2601.19055): neither supervision nor preference is best for
every user and amount of data; learning from both together is the most robust.
"""

from collections.abc import Sequence
from typing import Any

from adapters.objective import Objective
from adapters.training.recipes import dpo
from adapters.training.recipes.setup import Row, Setup

RATES = (1e-2, 1e-4)
SEQUENCES = 2
lacks = dpo.lacks


def examples(rows: Sequence[Row], objective: Objective) -> list[Row]:
    """Every row of an edit as a pair; no thumbs, no rankings: the best of some answers is not yet right.

    An accepted answer is a pair with itself, no preference and all supervision: the gradient of the preference
    between a text and itself is exactly zero, so what is left of it is SFT.
    """
    edits = [row for row in rows if "label" not in row and "ranked" not in row]
    return [dpo.pair({"rejected": row["completion"], "cost": 0.0, **row}, objective) for row in edits]


def trainer(setup: Setup, found: Sequence[Row]) -> Any:
    """DPO's trainer with TRL's SFT term beside its loss."""
    return dpo.trainer(setup, found, sft_weight=setup.objective.sft_weight)
