"""LoRA (Hu et al., 2106.09685) for a frozen model in bfloat16 on a CPU, with peft's names.

Each layer adds the product of its two matrices to its weight and multiplies once: that is faster on a CPU than two
small products a token, and it rounds as merging will.
"""

import math
import os
import shutil
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from adapters.recipe import LINEAR_LAYERS

Weights = dict[str, nn.Parameter]
"""Trained matrices in float32, by the names that peft saves them under."""


class LowRank(nn.Module):
    """A linear layer without bias: its weight, which stays, plus ``scale`` times (out, rank) times (rank, in)."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.scale = layer.weight, scale
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return linear(x, self.weight + (self.scale * self.up @ self.down).to(self.weight.dtype))


def add(model: Any, rank: int, alpha: int) -> Weights:
    """Put a ``LowRank`` in place of each linear layer of ``model``'s blocks, and freeze all else."""
    model.requires_grad_(False)
    found: Weights = {}
    for path, module in list(model.named_modules()):
        parent, _, name = path.rpartition(".")
        if name in LINEAR_LAYERS:
            layer = LowRank(module, rank, alpha / rank)
            setattr(model.get_submodule(parent), name, layer)
            found[f"base_model.model.{path}.lora_A.weight"] = layer.down
            found[f"base_model.model.{path}.lora_B.weight"] = layer.up
    return found


def compiled(model: Any) -> None:
    """Compile ``model``'s blocks, which trains half again as fast; without a C++ compiler they stay as they are."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        warnings.warn("There is no C++ compiler, so training is slower: install g++.", stacklevel=2)
        return
    for at, block in enumerate(model.model.layers):
        model.model.layers[at] = torch.compile(block, dynamic=True)
