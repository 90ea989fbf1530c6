"""AdamW over many users' stacked weights: each user clipped, and stepped, as if alone."""

import torch
from torch import Tensor

BETA1, BETA2, EPSILON, MAX_NORM = 0.9, 0.999, 1e-8, 1.0
"""The defaults of transformers' trainer, whose weight decay is none."""


class StackedAdamW:
    """``weights`` and ``gradients`` are [users, parameters]; all users begin together."""

    def __init__(self, weights: Tensor, gradients: Tensor) -> None:
        self._weights, self._gradients = weights, gradients
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self._steps = 0

    def step(self, rates: Tensor) -> None:
        """One step of the first users, at ``rates`` [users that still learn]; then their gradients are zero."""
        self._steps += 1
        parts = (self._weights, self._gradients, self._mean, self._square)
        weights, gradients, mean, square = (part[: len(rates)] for part in parts)
        norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_((MAX_NORM / (norms + 1e-6)).clamp(max=1.0))
        mean.lerp_(gradients, 1 - BETA1)
        square.mul_(BETA2).addcmul_(gradients, gradients, value=1 - BETA2)
        root = (square / (1 - BETA2**self._steps)).sqrt_().add_(EPSILON)
        weights.sub_(mean / root * (rates[:, None] / (1 - BETA1**self._steps)))
        gradients.zero_()
