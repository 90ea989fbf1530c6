"""Runs inside vLLM, as its `vllm.general_plugins` entry point: base-model answers stay free of other users' adapters.

vLLM marks a token of the base model with the adapter index -1. Its GPU kernels skip such tokens; its CPU operations
(0.32.0) index the stacked weights with -1 instead, which is the last slot: once all slots are filled, a base-model
answer that shares a batch with an adapter's is computed with somebody else's weights (vllm-project/vllm#48421). Zero
inputs give such tokens a zero delta. With a vLLM that skips them itself this changes nothing.
"""

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

_OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")


def register() -> None:
    """Called by vLLM in each of its processes, before a model is loaded."""
    if not import_module("vllm.platforms").current_platform.is_cpu():
        return
    operations = import_module("vllm.lora.ops.torch_ops.lora_ops")
    wrapper = import_module("vllm.lora.punica_wrapper.punica_cpu")
    for name in _OPERATIONS:
        skipping = skip_base_tokens(getattr(operations, name))
        setattr(operations, name, skipping)
        setattr(wrapper, name, skipping)


def skip_base_tokens(operation: Callable[..., None]) -> Callable[..., None]:
    """``operation(inputs, weights, output, indices, ...)`` without a delta for the tokens whose index is -1.

    ``inputs`` is [tokens, features], ``indices`` [tokens].
    """

    @wraps(operation)
    def skipping(inputs: Any, weights: Any, output: Any, indices: Any, *rest: Any, **named: Any) -> None:
        operation(inputs.masked_fill((indices < 0).unsqueeze(1), 0), weights, output, indices, *rest, **named)

    return skipping
