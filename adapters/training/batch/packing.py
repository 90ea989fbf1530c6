"""Rows of many users one behind the other, as one sequence, padded for attention at most, which keeps to each row."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from adapters.training.batch.lora import Routing

ATTENTION = "attune_packed"
_SEGMENTS = "row_places"
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's, which plans anew for every number and length of rows: milliseconds a layer."""


class Row(NamedTuple):
    """Token ids, how many of them are the prompt's, and how many the completion's."""

    ids: list[int]
    prompt: int

    @property
    def completion(self) -> int:
        """Tokens that the loss is of."""
        return len(self.ids) - self.prompt


class UserRow(NamedTuple):
    """A row, whose it is, and what each of its completion's tokens weighs in that user's loss."""

    row: Row
    user: int
    weight: float


class Segments(NamedTuple):
    """Where a pass's tokens stand when its rows are padded to the ``longest``: ``at`` [tokens], in rows x longest."""

    lengths: list[int]
    longest: int
    at: Tensor

    @staticmethod
    def of(lengths: list[int], device: Any = None) -> "Segments":
        """For rows of these lengths."""
        longest = max(lengths)
        at = torch.cat([torch.arange(length) + row * longest for row, length in enumerate(lengths)])
        return Segments(lengths, longest, at.to(device))


def row_of(tokenizer: Any, prompt: list[Any], completion: list[Any]) -> Row:
    """A conversation's tokens. The completion begins where they leave those of the prompt, which is never empty."""

    def ids(messages: list[Any], **how: bool) -> list[int]:
        return list(tokenizer.apply_chat_template(messages, return_dict=True, **how)["input_ids"])

    whole, asked = ids(prompt + completion), ids(prompt, add_generation_prompt=True)
    pairs = enumerate(zip(whole, asked, strict=False))
    return Row(whole, max(1, next((i for i, (a, b) in pairs if a != b), min(len(whole), len(asked)))))


def passes(rows: Iterable[UserRow], tokens: int) -> Iterator[list[UserRow]]:
    """The rows in their order, in passes of no more than ``tokens``, but of one row at least."""
    some: list[UserRow] = []
    held = 0
    for one in rows:
        if some and held + len(one.row.ids) > tokens:
            yield some
            some, held = [], 0
        some.append(one)
        held += len(one.row.ids)
    if some:
        yield some


def backward(model: Any, routing: Routing, rows: Sequence[UserRow], users: int) -> Tensor:
    """Run one pass forth and back, so that it adds to the users' gradients; what it adds to their losses, [users]."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(one.row.ids) for one in rows])
    ids = torch.tensor([token for one in rows for token in one.row.ids])
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
    owners, prompts, weights = (
        torch.tensor(values).repeat_interleave(lengths)
        for values in zip(*((one.user, one.row.prompt, one.weight) for one in rows), strict=True)
    )
    present, held = owners.unique_consecutive(return_counts=True)
    routing.users, routing.ends = present.to(device), held.cumsum(0).to(device, torch.int32)
    segments = Segments.of(lengths.tolist(), device)
    labels = (positions >= prompts).nonzero()[:, 0]
    logits = model(
        input_ids=ids[None].to(device),
        position_ids=positions[None].to(device),
        logits_to_keep=(labels - 1).to(device),
        use_cache=False,
        **{_SEGMENTS: segments},
    ).logits[0]
    losses = F.cross_entropy(logits.float(), ids[labels].to(device), reduction="none") * weights[labels].to(device)
    losses.sum().backward()
    return losses.new_zeros(users).index_add_(0, owners[labels].to(device), losses.detach())


def use_packed_attention(model: Any) -> None:
    """Have ``model`` attend within each row of a pass, and no mask made."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    model.set_attn_implementation(ATTENTION)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **how: Any
) -> tuple[Tensor, None]:
    """Causal attention within each row; ``query`` [1, heads, tokens, features] to [1, tokens, heads, features]."""
    segments: Segments = how.pop(_SEGMENTS)
    if how.get("softcap") or how.get("s_aux") is not None or (how.get("sliding_window") or math.inf) < segments.longest:
        raise ValueError("the model's attention is not plainly causal, which training many at once needs")
    # Padding has no place in the memory that a pass was measured out to.
    padded = len(segments.lengths) * segments.longest <= 2 * len(segments.at)
    attend = attend_padded if query.is_cuda and padded else attend_split
    return attend(module, query, key, value, segments, how), None


def attend_padded(
    module: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Mapping[str, Any]
) -> Tensor:
    """Of all rows in one product, padded at their ends, which none of their tokens sees: what keeps a GPU busy."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    q, k, v = (_padded(t, segments) for t in (query, key, value))
    with sdpa_kernel(_KERNELS):
        attended: Tensor = sdpa_attention_forward(module, q, k, v, None, **how)[0]
    return attended.flatten(0, 1)[segments.at][None]


def attend_split(
    module: Any, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: Mapping[str, Any]
) -> Tensor:
    """Row by row: nothing is computed in vain, which counts on a CPU."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    # Split where tokens come first: gradients are then put together again without being turned.
    parts = (
        (row.transpose(1, 2) for row in t.transpose(1, 2).split(segments.lengths, dim=1)) for t in (query, key, value)
    )
    rows = zip(*parts, strict=True)
    return torch.cat([sdpa_attention_forward(module, q, k, v, None, **how)[0] for q, k, v in rows], dim=1)


def _padded(t: Tensor, segments: Segments) -> Tensor:
    """``t`` [1, heads, tokens, features] as [rows, heads, longest, features], with zeros behind each row's end."""
    tokens = t[0].transpose(0, 1)
    room = tokens.new_zeros(len(segments.lengths) * segments.longest, *tokens.shape[1:])
    rows: Tensor = room.index_copy(0, segments.at, tokens).unflatten(0, (-1, segments.longest))
    return rows.transpose(1, 2)
