"""On a CPU, tokens of the base model get no adapter's delta; anywhere, what is unloaded is gone."""

from dataclasses import dataclass

import pytest
import torch

from server.engine.plugin import clear_slot, remove_weights, skip_base_tokens, skip_prompts


def gather(inputs: torch.Tensor, weights: torch.Tensor, output: torch.Tensor, indices: torch.Tensor) -> None:
    """An operation as vLLM's: an index of -1 picks the last slot's weights."""
    output += torch.einsum("bi,boi->bo", inputs, weights[indices])


def test_tokens_of_the_base_model_get_no_delta_and_all_others_the_same() -> None:
    torch.manual_seed(0)
    inputs, weights = torch.randn(4, 3), torch.randn(2, 5, 3)
    indices = torch.tensor([0, -1, 1, -1])
    leaky, safe = torch.zeros(4, 5), torch.zeros(4, 5)
    gather(inputs, weights, leaky, indices)
    skip_base_tokens(gather)(inputs, weights, safe, indices)
    adapted = indices >= 0
    assert leaky[~adapted].abs().sum() > 0
    assert safe[~adapted].abs().sum() == 0
    assert torch.equal(safe[adapted], leaky[adapted])


def test_weights_that_overflow_do_not_reach_tokens_of_the_base_model() -> None:
    output, before = torch.ones(3, 5), torch.ones(5)
    skip_base_tokens(gather)(torch.ones(3, 3), torch.full((2, 5, 3), torch.inf), output, torch.tensor([-1, 1, -1]))
    assert torch.equal(output[0], before)
    assert torch.equal(output[2], before)
    assert output[1].isinf().all()


class Head:
    """The output layer of vLLM's, as far as its delta goes: one index for each sampled token."""

    def __init__(self, *indices: int) -> None:
        self.sampler_indices = torch.tensor(indices)

    def add(self, logits: torch.Tensor, hidden: torch.Tensor, weights: torch.Tensor) -> None:
        gather(hidden, weights, logits, self.sampler_indices)


def test_likelihoods_of_a_prompt_leave_the_output_layer_alone_and_the_engine_alive() -> None:
    weights, hidden, sampled = torch.ones(2, 5, 3), torch.ones(7, 3), torch.zeros(2, 5)
    with pytest.raises(RuntimeError):
        Head(0, 1).add(torch.zeros(7, 5), hidden, weights)
    prompt = torch.zeros(7, 5)
    skip_prompts(Head.add)(Head(0, 1), prompt, hidden, weights)
    assert prompt.abs().sum() == 0
    skip_prompts(Head.add)(Head(0, 1), sampled, hidden[:2], weights)
    assert torch.equal(sampled, torch.full((2, 5), 3.0))


@dataclass
class Request:
    lora_name: str
    lora_int_id: int = 0


class EngineCore:
    """What holds the weights. A request still in a batch brings them back ``stubborn`` times."""

    def __init__(self, *adapters: int, stubborn: int = 0) -> None:
        self.adapters = set(adapters)
        self.stubborn = stubborn

    async def remove_lora(self, adapter: int) -> bool:
        if self.stubborn:
            self.stubborn -= 1
        else:
            self.adapters.discard(adapter)
        return True

    async def list_loras(self) -> set[int]:
        return set(self.adapters)


class Models:
    """vLLM's models handler, as far as unloading goes: it forgets a name."""

    def __init__(self, core: EngineCore, **adapters: int) -> None:
        self.engine_client = core
        self.lora_requests = {name: Request(name, number) for name, number in adapters.items()}

    async def unload(self, request: Request) -> str:
        return "removed" if self.lora_requests.pop(request.lora_name, None) else "unknown"


@pytest.mark.parametrize("stubborn", [0, 3])
async def test_unloading_removes_the_weights_of_that_adapter(stubborn: int) -> None:
    core = EngineCore(1, 2, stubborn=stubborn)
    models = Models(core, ann=1, bob=2)
    assert await remove_weights(Models.unload)(models, Request("ann")) == "removed"
    assert core.adapters == {2}
    assert await remove_weights(Models.unload)(models, Request("ann")) == "unknown"
    assert core.adapters == {2}


class Layer:
    """Stacked weights, [slots, features]."""

    def __init__(self) -> None:
        self.weights = torch.ones(3, 4)

    def reset_lora(self, slot: int) -> None:
        self.weights[slot] = 0


class Manager:
    """vLLM's adapter manager, as far as slots go: it frees one and leaves what is in it."""

    def __init__(self) -> None:
        self.lora_index_to_id: list[int | None] = [7, 8, None]
        self.modules = {"q": Layer(), "k": Layer()}

    def deactivate(self, adapter: int) -> None:
        if adapter in self.lora_index_to_id:
            self.lora_index_to_id[self.lora_index_to_id.index(adapter)] = None


def test_a_freed_slot_holds_zeros_and_others_what_they_held() -> None:
    manager = Manager()
    clear_slot(Manager.deactivate)(manager, 8)
    clear_slot(Manager.deactivate)(manager, 9)
    assert manager.lora_index_to_id == [7, None, None]
    for layer in manager.modules.values():
        assert layer.weights.sum(dim=1).tolist() == [4, 0, 4]
