"""What an adapter's weights depend on besides base model and data."""

import os
from dataclasses import dataclass, field

from adapters.objective import Objective

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of Llama, and of the many that name their layers alike; `validation.fitted` has other architectures'."""


@dataclass(frozen=True)
class Recipe:
    """What the weights depend on besides base model and data. One rank and module set serves all users.

    ``learning_rate`` None means the objective's own, higher below ``SMALL_MODEL`` parameters. Steps are ``epochs`` over
    the rows, ``batch_size`` at a time, within ``min_steps`` and ``max_steps``; what is None is as ``amount.py`` has it.
    Rows longer than ``max_tokens`` are left out, never cut.
    Activations are recomputed instead of kept where a batch's would take more than about ``activation_gib``, by default
    what ``recipes/memory.py`` finds.
    """

    rank: int = 8
    alpha: int = 16
    target_modules: tuple[str, ...] = LINEAR_LAYERS
    learning_rate: float | None = None
    epochs: float | None = None
    min_steps: int | None = None
    max_steps: int = 400
    batch_size: int | None = None
    max_tokens: int = 2048
    seed: int = 0
    threads: int = max(1, (os.cpu_count() or 2) // 2)
    niceness: int = 5
    activation_gib: float | None = None
    objective: Objective = field(default_factory=Objective)
