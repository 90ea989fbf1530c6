"""What training takes beside the model: how much is foreseen, and how much it was."""

import resource
import sys
from pathlib import Path
from typing import Any

ACTIVATION_GIB = 4.0
"""What activations may take on a machine without a GPU, when nobody says."""
_STATUS = Path("/proc/self/status")
_LOGIT_BYTES = 12
"""Of a float32 copy of each logit, its log-probability and its gradient."""


def activation_room(gib: float | None) -> float:
    """Bytes that activations may take: ``gib``, else half of what is free on the GPU, with the model there already."""
    import torch

    if gib is None and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 2
    return (ACTIVATION_GIB if gib is None else gib) * 2**30


def activation_bytes(config: Any, bytes_each: int, tokens: int) -> int:
    """What a batch of so many tokens keeps for its backward pass, about: 34 bytes a token, layer and hidden unit.

    That is for 16-bit numbers and attention that keeps no scores (arXiv 2205.05198, section 4.1).
    """
    text = config.get_text_config()
    return int(17 * bytes_each * tokens * text.num_hidden_layers * text.hidden_size)


def logit_bytes(config: Any, bytes_each: int, tokens: int) -> int:
    """What the loss of so many predicted tokens keeps: more than all layers where the vocabulary is large."""
    return int((2 * bytes_each + _LOGIT_BYTES) * tokens * config.get_text_config().vocab_size)


def peak_gib() -> float:
    """The most memory that this process had so far: the GPU's that it allocated, or the machine's without one."""
    import torch

    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    if _STATUS.exists():  # what getrusage tells there includes the process that this one was started from
        kibibytes = next(line.split()[1] for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(kibibytes) / 2**20, 2)
    bytes_each = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_each / 2**30, 2)
