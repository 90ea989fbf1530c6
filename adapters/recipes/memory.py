"""When to recompute activations instead of keeping them."""

from typing import Any


def activation_bytes(config: Any, bytes_each: int, tokens: int) -> int:
    """What a batch of so many tokens keeps for its backward pass, about: 34 bytes a token, layer and hidden unit.

    That is for 16-bit numbers and attention that keeps no scores (arXiv 2205.05198, section 4.1).
    """
    text = config.get_text_config()
    return int(17 * bytes_each * tokens * text.num_hidden_layers * text.hidden_size)
