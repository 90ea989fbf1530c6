"""The memory that activations take, and the room for them."""

import subprocess
import sys

import pytest
import torch

from adapters.training.recipes.memory import ACTIVATION_GIB, activation_bytes, activation_room, logit_bytes, peak_gib
from tests.adapters.training.recipes.conftest import Judge

pytestmark = pytest.mark.timeout(900)


def test_activations_grow_with_tokens_and_layers(judge: Judge) -> None:
    # 6 layers, 192 hidden units, 34 bytes a number in 16 bits
    assert activation_bytes(judge.base.config, 2, 100) == 34 * 100 * 6 * 192
    assert activation_bytes(judge.base.config, 4, 100) == 2 * 34 * 100 * 6 * 192
    # A logit, its gradient, and both in single precision with the log-probability.
    assert logit_bytes(judge.base.config, 2, 100) == (2 + 2 + 3 * 4) * 100 * judge.base.config.vocab_size


def test_room_for_activations_is_what_is_said_or_found() -> None:
    assert activation_room(0.0) == 0
    assert activation_room(2.0) == 2 * 2**30
    found = activation_room(None)
    assert found > 0 if torch.cuda.is_available() else found == ACTIVATION_GIB * 2**30


def test_the_most_memory_is_that_of_this_process_alone() -> None:
    """What the system counts as a child's own may begin with what its parent had."""
    code = "from adapters.training.recipes.memory import peak_gib; print(peak_gib())"
    held = bytearray(b"1") * 2**30
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(held) / 2**30 < peak_gib() or torch.cuda.is_available()
    assert float(told.stdout) < 0.9
