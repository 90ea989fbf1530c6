"""Runs inside vLLM, as its `vllm.general_plugins` entry point: no adapter's weights where they do not belong.

On CPUs, base-model answers stay free of them. vLLM marks a token of the base model with the adapter index -1. Its GPU
kernels skip such tokens; its CPU operations (0.32.0) index the stacked weights with -1 instead, which is the last slot:
once all slots are filled, a base-model answer that shares a batch with an adapter's is computed with somebody else's
weights (vllm-project/vllm#48421). Here such tokens' rows stay as they were. With a vLLM that skips them itself this
changes nothing. And likelihoods of a prompt, which the gate asks for, do not end the engine there: vLLM corrects the
logits of all its tokens by an index for each sampled one (vllm-project/vllm#16668).

With ``ATTUNE_ADAPTER_STORE`` set, any version of any user is brought from there when a request names it
(`resolver.py`): that is what an engine behind a router needs, and what its list of models tells.

Everywhere, what is unloaded is gone. vLLM's HTTP unload only forgets the name: the weights stay in a cache until newer
ones push them out, and in their slot until another adapter takes it (vllm-project/vllm#54839).
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from importlib import import_module
from typing import Any

from server.engine.resolver import Resolver, from_environment

log = logging.getLogger("vllm.attune")  # vLLM shows what is logged below its own name

_OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")
_TRIES, _PAUSE = 600, 0.05  # half a minute, and what the calls take


def register() -> None:
    """Called by vLLM in each of its processes, before a model is loaded."""
    if import_module("vllm.platforms").current_platform.is_cpu():
        operations = import_module("vllm.lora.ops.torch_ops.lora_ops")
        wrapper = import_module("vllm.lora.punica_wrapper.punica_cpu")
        for name in _OPERATIONS:
            skipping = skip_base_tokens(getattr(operations, name))
            setattr(operations, name, skipping)
            setattr(wrapper, name, skipping)
        head = wrapper.PunicaWrapperCPU
        head.add_lora_logits = skip_prompts(head.add_lora_logits)
    resolver = _resolver()
    handler = ("vllm.entrypoints.openai.models.serving", "OpenAIServingModels")
    _wrap(*handler, "unload_lora_adapter", partial(remove_weights, resolver=resolver))
    if resolver is not None:
        import_module("vllm.lora.resolver").LoRAResolverRegistry.register_resolver("attune", resolver)
        _wrap(*handler, "init_static_loras", partial(start, resolver=resolver))
        _wrap(*handler, "show_available_models", partial(mark, resolver=resolver))
    _wrap("vllm.lora.model_manager", "LoRAModelManager", "_deactivate_adapter", clear_slot)


def skip_base_tokens(operation: Callable[..., None]) -> Callable[..., None]:
    """``operation(inputs, weights, output, indices, ...)`` without a delta for the tokens whose index is -1.

    ``output`` is [tokens, features], ``indices`` [tokens]. Such a token's row stays as it was, whatever the weights
    are: zero times infinity is no number.
    """

    @wraps(operation)
    def skipping(inputs: Any, weights: Any, output: Any, indices: Any, *rest: Any, **named: Any) -> None:
        before = output.clone()
        operation(inputs, weights, output, indices, *rest, **named)
        rows = slice(len(indices))
        output[rows] = output[rows].where((indices >= 0).unsqueeze(1), before[rows])

    return skipping


def skip_prompts(add: Callable[..., None]) -> Callable[..., None]:
    """``add(wrapper, logits, hidden, ...)``, the output layer's delta, for sampled tokens alone.

    ``hidden`` is [tokens, features]. Its GPU kernels leave a prompt's tokens alone too, and our adapters have none.
    """

    @wraps(add)
    def adding(wrapper: Any, logits: Any, hidden: Any, *rest: Any, **named: Any) -> None:
        if len(hidden) == len(wrapper.sampler_indices):
            add(wrapper, logits, hidden, *rest, **named)

    return adding


def start(begin: Callable[..., Awaitable[None]], resolver: Resolver) -> Callable[..., Awaitable[None]]:
    """``begin(models)``, which vLLM calls once, before it takes requests; the resolver begins with it."""

    @wraps(begin)
    async def starting(models: Any) -> None:
        await begin(models)
        await resolver.start(models)

    return starting


def mark(show: Callable[..., Awaitable[Any]], resolver: Resolver) -> Callable[..., Awaitable[Any]]:
    """``show(models)``, the list of models, which tells servers that this engine has the plugin, and which base."""

    @wraps(show)
    async def showing(models: Any) -> Any:
        told = await show(models)
        told.data[0].attune = {"base_sha256": resolver.base(models.model_config.model)}
        return told

    return showing


def remove_weights(
    unload: Callable[..., Awaitable[Any]], resolver: Resolver | None = None
) -> Callable[..., Awaitable[Any]]:
    """``unload(models, request)``, which answers once the engine has the adapter's weights no longer.

    Nor its files, where the resolver brought them. A request that was aborted a moment ago may still be in a batch and
    bring them back: then once more.
    """

    @wraps(unload)
    async def unloading(models: Any, request: Any) -> Any:
        held = models.lora_requests.get(request.lora_name)
        answer = await unload(models, request)
        if held is None or request.lora_name in models.lora_requests:
            return answer
        for _ in range(_TRIES):
            await models.engine_client.remove_lora(held.lora_int_id)
            await asyncio.sleep(_PAUSE)
            if held.lora_int_id not in await models.engine_client.list_loras():
                if resolver is not None:
                    await resolver.forget(request.lora_name, held.lora_path)
                return answer
        log.warning("adapter %s is unloaded, but requests still use its weights", request.lora_name)
        return answer

    return unloading


def clear_slot(deactivate: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
    """``deactivate(manager, adapter)``, which leaves zeros where the adapter's weights were."""

    @wraps(deactivate)
    def deactivating(manager: Any, adapter: int) -> None:
        slots = [slot for slot, holds in enumerate(manager.lora_index_to_id) if holds == adapter]
        deactivate(manager, adapter)
        for slot in slots:
            for module in manager.modules.values():
                module.reset_lora(slot)

    return deactivating


def _resolver() -> Resolver | None:
    resolver = from_environment()
    if resolver is not None and os.environ.get("VLLM_LORA_RESOLVER_CACHE_DIR"):
        log.critical("VLLM_LORA_RESOLVER_CACHE_DIR is set: it takes any path that a name spells. Nothing is brought.")
        return None
    return resolver


def _wrap(module: str, owner: str, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace a method; a vLLM that has it no longer runs as it is, and says so."""
    try:
        held = getattr(import_module(module), owner)
        setattr(held, name, wrapper(getattr(held, name)))
    except (ImportError, AttributeError) as error:
        log.warning("vLLM has no %s.%s: unloaded adapters may stay, others be missing: %s", owner, name, error)
