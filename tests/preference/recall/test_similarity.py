"""Similarity plays down what varies among situations of one kind, and nothing before kinds repeat themselves."""

import numpy as np

from preference.ports import Vectors
from preference.recall.similarity import DIRECTIONS, NEWEST, Similarity, same_kind

DIMENSION = 64


def _situations(rng: np.random.Generator, kinds: int, each: int) -> tuple[Vectors, list[set[str]]]:
    """Kinds differ a little, in directions of their own; situations of a kind differ a lot, in some that all share."""
    noises = np.eye(DIMENSION)[-3:]
    rows, holds = [], []
    for _ in range(each):
        for kind in range(kinds):
            row = np.eye(DIMENSION)[kind] / 3 + rng.normal(size=3) @ noises + 0.02 * rng.normal(size=DIMENSION)
            rows.append(row / np.linalg.norm(row))
            holds.append({f"{kind} a", f"{kind} b"})
    return np.array(rows, np.float32), holds


def _likenesses(similarity: Similarity, vectors: Vectors) -> Vectors:
    """Of each with each, [situations, situations]."""
    lengths = np.array([similarity.length(vector) for vector in vectors], np.float32)
    return vectors @ similarity.folded(vectors).T / lengths[:, None]


def _right(similarity: Similarity, vectors: Vectors, holds: list[set[str]]) -> float:
    """Share of situations whose nearest other one is of their kind."""
    cosines = _likenesses(similarity, vectors)
    np.fill_diagonal(cosines, -2)
    return float(np.mean([holds[row] == holds[other] for row, other in enumerate(cosines.argmax(1))]))


def test_kinds_are_told_apart_that_cosine_confuses() -> None:
    vectors, holds = _situations(np.random.default_rng(1), kinds=4, each=40)
    plain = _right(Similarity(vectors[:1], holds[:1]), vectors, holds)
    learned = _right(Similarity(vectors[:80], holds[:80]), vectors[80:], holds[80:])
    assert plain < 0.7
    assert learned > 0.9


def test_a_leftover_beside_six_preferences_is_the_same_kind_and_beside_five_another() -> None:
    five, six = set("abcde"), set("abcdef")
    assert same_kind([six, six | {"x"}]).all()
    assert same_kind([five, five | {"x"}]).tolist() == [[True, False], [False, True]]


def test_it_is_cosine_while_each_kind_was_seen_once() -> None:
    vectors, holds = _situations(np.random.default_rng(2), kinds=8, each=1)
    assert np.allclose(_likenesses(Similarity(vectors, holds), vectors), vectors @ vectors.T, atol=1e-6)
    nothing = Similarity(np.zeros((0, DIMENSION), np.float32), [])
    assert np.allclose(_likenesses(nothing, vectors), vectors @ vectors.T, atol=1e-6)


def test_two_situations_of_a_kind_say_little() -> None:
    vectors, _ = _situations(np.random.default_rng(3), kinds=3, each=1)
    similarity = Similarity(vectors, [{"a"}, {"a"}, {"b"}])
    assert all(similarity.length(vector) > 0.8 for vector in vectors)


def test_it_is_a_cosine() -> None:
    vectors, holds = _situations(np.random.default_rng(4), kinds=4, each=60)
    assert len(vectors) > NEWEST > DIRECTIONS, "the bounds are tried"
    similarity = Similarity(vectors, holds)
    found = _likenesses(similarity, vectors)
    assert np.allclose(found, found.T, atol=1e-4)
    assert np.allclose(np.diag(found), 1, atol=1e-4)
    assert np.abs(found).max() < 1 + 1e-4
