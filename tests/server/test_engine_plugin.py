"""On a CPU, tokens of the base model get no adapter's delta."""

import torch

from server.engine_plugin import skip_base_tokens


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
