"""SFT on edits: the negative log-likelihood of the text that the user made of an answer, by TRL's SFTTrainer."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from adapters.objective import Objective
from adapters.training.recipes.setup import Row, Setup

RATES = (1e-2, 2e-4)
"""Much less leaves the bundled model half-way, where it does not end its answers: docs/adapters.md has the figures."""
SEQUENCES = 1


def examples(rows: Sequence[Row], objective: Objective) -> list[Row]:
    """Every row of an edit: accepted answers count too, they say what is right; no thumbs, no rankings."""
    edits = [row for row in rows if "label" not in row and "ranked" not in row]
    return [{"prompt": row["prompt"], "completion": row["completion"]} for row in edits]


def lacks(found: Sequence[Row]) -> str | None:
    """Any row will do."""
    return None


def trainer(setup: Setup, found: Sequence[Row]) -> Any:
    """Loss on the completions alone, whole rows."""
    args = SFTConfig(
        completion_only_loss=True, max_length=None, per_device_train_batch_size=setup.batch_size, **setup.arguments
    )
    return SFTTrainer(train_dataset=Dataset.from_list(list(found)), args=args, **setup.parts())
