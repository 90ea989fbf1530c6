"""The bundled encoder in eight bits is the original for all that is done with it."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from preference.recall import embedder
from preference.recall.embedder import SentenceEmbedder
from store.errors import Invalid

TEXTS = [
    "Write to my landlord that the heating in the bedroom has been cold since Tuesday, please send someone this week.",
    "SQL: customers with more than three orders this year.",
    "kürzer",
    "写一封邮件给经理",
    "word " * 400,
]


@pytest.fixture(scope="module")
def original() -> SentenceTransformer:
    return SentenceTransformer(str(embedder._bundled_path()), device="cpu", model_kwargs={"use_safetensors": True})


def test_vectors_are_those_of_sentence_transformers(original: SentenceTransformer) -> None:
    ours = SentenceEmbedder().embed(TEXTS)
    theirs = original.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert ours.shape == theirs.shape
    assert (ours * theirs).sum(axis=1).min() > 0.99


def test_any_other_encoder_is_read_in_its_middle_too() -> None:
    """The same model as a folder, which sentence-transformers loads."""
    named = SentenceEmbedder(str(embedder._bundled_path()))
    ours = SentenceEmbedder()
    assert named.dimension == ours.dimension
    for theirs, mine in zip(named.read(TEXTS), ours.read(TEXTS), strict=True):
        assert (theirs * mine).sum(axis=1).min() > 0.99
    forms, abouts = named.read(TEXTS)
    assert (forms * abouts).sum(axis=1).max() < 0.9
    assert [vectors.shape for vectors in named.read([])] == [(0, named.dimension)] * 2


def test_a_text_has_one_vector_whatever_is_beside_it() -> None:
    ours = SentenceEmbedder()
    assert np.array_equal(ours.embed(TEXTS)[2], ours.embed([TEXTS[2]])[0])


def test_weights_that_are_not_the_original_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "_BUNDLED_SHA256", "0" * 64)
    with pytest.raises(Invalid, match="not the original"):
        SentenceEmbedder()


def test_a_name_that_nobody_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="ATTUNE_EMBEDDER"):
        SentenceEmbedder(str(tmp_path / "nothing"))
