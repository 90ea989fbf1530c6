"""Many users' LoRA weights on one frozen model: every token of a batch goes through the weights of its own user."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Routing:
    """Whose tokens a pass holds: those of ``users`` [present], ascending, whose ends are ``ends`` [present]."""

    def __init__(self) -> None:
        self.users = self.ends = torch.empty(0, dtype=torch.int32)


class StackedLinear(nn.Module):
    """A frozen linear layer with a LoRA for each user: ``a`` [users, rank, in] and ``b`` [users, rank, out]."""

    def __init__(self, base: nn.Linear, scale: float, routing: Routing) -> None:
        super().__init__()
        self.base, self.scale, self.routing = base, scale, routing
        self.a = self.b = self.a_gradient = self.b_gradient = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [..., in] to [..., out]; the leading dimensions are the tokens."""
        apply: Callable[..., Tensor] = _RoutedProduct.apply
        y = apply(x.flatten(0, -2), self.a, self)
        return y.view(*x.shape[:-1], -1)


class FrozenLinear(nn.Module):
    """A frozen linear layer that nobody has a LoRA for."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [..., in] to [..., out]."""
        apply: Callable[..., Tensor] = _FrozenProduct.apply
        y = apply(x.flatten(0, -2), self.weight, self.bias)
        return y.view(*x.shape[:-1], -1)


class StackedLora:
    """The weights of all users and their gradients, [users, parameters] each, of which the layers see parts.

    Takes the place of the linear layers in ``model``, whose own weights it freezes. ``starts`` has a seed for each
    user, with which peft itself initialises the weights, or the directory of an adapter to go on from.
    Raises ``ValueError`` for a target that is no linear layer.
    """

    def __init__(self, model: Any, config: Any, starts: Sequence[int | Path]) -> None:
        first = {start: _first_weights(model, config, start) for start in dict.fromkeys(starts)}
        config.base_model_name_or_path = model.name_or_path
        self._config = config
        self._shapes = {name: tensor.shape for name, tensor in first[starts[0]].items()}
        flat = {start: torch.cat([found[name].flatten() for name in self._shapes]) for start, found in first.items()}
        self.weights = torch.stack([flat[start] for start in starts])
        self.gradients = torch.zeros_like(self.weights)
        self.routing = Routing()
        self._install(model, config.lora_alpha / config.r)

    def _install(self, model: Any, scale: float) -> None:
        model.requires_grad_(False)
        weights, gradients = self._parts(self.weights), self._parts(self.gradients)
        for place, base in list(model.named_modules()):
            a, b = (f"base_model.model.{place}.lora_{which}.weight" for which in "AB")
            if not isinstance(base, nn.Linear):
                if a in weights:
                    raise ValueError(f"{place} is no linear layer")
            elif a in weights:
                layer = StackedLinear(base, scale, self.routing)
                layer.a, layer.a_gradient = weights[a].requires_grad_(), gradients[a]
                layer.b, layer.b_gradient = weights[b], gradients[b]
                model.set_submodule(place, layer)
            else:
                model.set_submodule(place, FrozenLinear(base))

    def _parts(self, flat: Tensor) -> dict[str, Tensor]:
        """Each tensor's part of ``flat`` [users, parameters], as a view [users, *shape]."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts = zip(self._shapes.items(), flat.split(sizes, dim=1), strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in parts}

    def save(self, user: int, directory: Path) -> None:
        """Write a user's adapter as peft does: weights and configuration."""
        from safetensors.torch import save_file

        directory.mkdir(exist_ok=True)
        parts = self._parts(self.weights[user : user + 1])
        tensors = {name: _turned(name, part[0].detach()).contiguous().cpu() for name, part in parts.items()}
        save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
        self._config.inference_mode = True
        self._config.save_pretrained(str(directory))


class _RoutedProduct(torch.autograd.Function):
    """``x`` [tokens, in] through the frozen layer and through the LoRA of the user that each token belongs to.

    Gradients of LoRA weights are added to those that the layer holds, of present users only; ``a`` is an argument so
    that autograd comes here for the first layer, too, whose ``x`` has no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, layer: StackedLinear) -> Tensor:
        users, ends = layer.routing.users, layer.routing.ends
        a, b = (part[users].to(x.dtype) for part in (layer.a, layer.b))
        inner = F.grouped_mm(x, a.transpose(1, 2), offs=ends) * layer.scale
        ctx.save_for_backward(x, inner, a, b, users, ends)
        ctx.layer = layer
        return _linear(x, layer.base.weight, layer.base.bias).add_(F.grouped_mm(inner, b, offs=ends))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None]:
        x, inner, a, b, users, ends = ctx.saved_tensors
        layer = ctx.layer
        d_inner = F.grouped_mm(dy, b.transpose(1, 2), offs=ends) * layer.scale
        layer.a_gradient.index_add_(0, users, F.grouped_mm(d_inner.t(), x, offs=ends).float())
        layer.b_gradient.index_add_(0, users, F.grouped_mm(inner.t(), dy, offs=ends).float())
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return _linear(dy, layer.base.weight.t()).add_(F.grouped_mm(d_inner, a, offs=ends)), None, None


class _FrozenProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return _linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        return _linear(dy, ctx.weight.t()), None, None


def _first_weights(model: Any, config: Any, start: int | Path) -> dict[str, Tensor]:
    """peft's tensors by name, on the model's device."""
    from peft import get_peft_model, get_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import set_seed

    if isinstance(start, Path):
        state = load_file(start / "adapter_model.safetensors", device=str(model.device))
    else:
        set_seed(start)
        wrapped = get_peft_model(model, config)
        state = get_peft_model_state_dict(wrapped)
        wrapped.unload()
    return {name: _turned(name, tensor.detach().float()) for name, tensor in state.items()}


def _turned(name: str, tensor: Tensor) -> Tensor:
    """peft's tensor to ours and back: its ``B`` is [out, rank], and products are faster with the long side last."""
    return tensor.t() if ".lora_B." in name else tensor


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``; on a CPU by oneDNN, which on AMD's takes less than half of the time of MKL."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)
