"""The two outside worlds that learning needs: something that generates text, something that embeds it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preference.prompt import Message

Vectors = NDArray[np.float32]
"""Unit-length rows, [texts, dimension]."""


@dataclass(frozen=True)
class Generation:
    """One greedy answer and what it cost in tokens."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class TextGenerator(Protocol):
    """Greedy chat completion, outside the request path. Raises ``EngineUnavailable`` or ``EngineRejected``."""

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        """Answer ``messages`` at temperature 0; ``model`` names a loaded adapter, ``None`` is the base model."""
        ...


class Embedder(Protocol):
    """Maps texts to unit vectors. ``name`` identifies the vector space; vectors of two names never mix."""

    name: str
    dimension: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed ``texts``; blocking, call it in a thread."""
        ...
