"""The two outside worlds that learning needs: something that generates text, something that embeds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from store.message import Message

Vectors = NDArray[np.float32]
"""Unit-length rows, [texts, dimension]."""

OnTokens = Callable[[str, int, int], None]
"""Told of a tenant, and of the prompt and completion tokens that the study of one of its users' edits cost."""


@dataclass(frozen=True)
class Generation:
    """One greedy answer and what it cost in tokens."""

    text: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class TokenScores:
    """An answer's tokens, the end of its turn last, and the log-probability of each in nats, [tokens] both."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Scorer(Protocol):
    """Says how likely answers are, outside the request path. Raises ``EngineUnavailable``, ``ScoringUnavailable``."""

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        """For each pair of messages and an answer to them, the scores of the answer's tokens."""
        ...


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


class Kinds(Embedder, Protocol):
    """An embedder of requests: the first ``kinds`` dimensions are near for one kind of task, whatever it is about.

    The others say what a request is about.
    """

    kinds: int

    def goes_on(self, vector: Vectors) -> bool:
        """Whether a text with this vector, [dimension], only goes on with what was asked before: "shorter, please"."""
        ...


class Sentences(Protocol):
    """A sentence encoder. ``name`` says which."""

    name: str

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Unit vectors, [texts, dimension] each, of how ``texts`` are put and of what they are about; blocking."""
        ...
