"""AdamW over many users' stacked weights: each user clipped, and stepped, as if alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_NORM = 1.0
"""As the defaults of transformers' trainer, whose weight decay is none."""


class StackedAdamW:
    """``weights`` and ``gradients`` are [users, parameters]; all users begin together. torch's own, fused."""

    def __init__(self, weights: Tensor, gradients: Tensor) -> None:
        self._gradients = gradients
        # The same memory as parameters of their own, each with a rate of its own.
        own = [weights[user].detach() for user in range(len(weights))]
        for part, gradient in zip(own, gradients, strict=True):
            part.grad = gradient
        self._adamw = torch.optim.AdamW([{"params": [part]} for part in own], weight_decay=0.0, fused=True)

    def step(self, rates: Sequence[float]) -> None:
        """One step of the first users, at ``rates``, of whom there may be fewer each time; their gradients end zero."""
        gradients = self._gradients[: len(rates)]
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_((MAX_NORM / (norms + 1e-6)).clamp(max=1.0))
        del self._adamw.param_groups[len(rates) :]
        for group, rate in zip(self._adamw.param_groups, rates, strict=True):
            group["lr"] = rate
        self._adamw.step()
        gradients.zero_()
