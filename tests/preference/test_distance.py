"""The cost of an edit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.distance import MAX_STEPS, normalised_distance, pieces, word_distance, words
from preference.normal import MAX_MARKS


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("Hi Ann, it's done.", ["Hi", "Ann", ",", "it's", "done", "."]),
        ("- one\r\n- two", ["-", "one", "\n", "-", "two"]),
        ("a\tb  c", ["a", "b", "c"]),
        ("👍 ok", ["👍", "ok"]),
        ("\u2764\ufe0fok, really?\u0301", ["\u2764\ufe0f", "ok", ",", "really", "?\u0301"]),
        ("\u0301x", ["\u0301", "x"]),
        ("明日、会う", ["明", "日", "、", "会", "う"]),
        ("cafe\u0301", ["caf\u00e9"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092d\u093e\u0937\u093e"],
        ),
        ("\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", ["\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f"]),
        ("\u0e2a\u0e27\u0e31\u0e2a", ["\u0e2a", "\u0e27\u0e31", "\u0e2a"]),
    ],
)
def test_words(text: str, tokens: list[str]) -> None:
    assert words(text) == tokens


@pytest.mark.parametrize(
    ("a", "b", "distance", "normalised"),
    [
        ("", "", 0, 0.0),
        ("same words", "same words", 0, 0.0),
        ("", "three new words", 3, 1.0),
        ("Dear Ann,\nall is well.", "Hi Ann,\nall is well!", 2, 2 / 8),
        ("one two", "three four five", 3, 1.0),
    ],
)
def test_distances_by_hand(a: str, b: str, distance: int, normalised: float) -> None:
    assert word_distance(a, b) == distance
    assert normalised_distance(a, b) == pytest.approx(normalised)


def textbook(a: list[str], b: list[str]) -> int:
    """Wagner-Fischer."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


texts = st.lists(st.sampled_from(["a", "bb", "c.", "\n", "dd,", "é"]), max_size=12).map(" ".join)


@given(texts, texts)
def test_it_is_the_textbook_distance(a: str, b: str) -> None:
    assert word_distance(a, b) == word_distance(b, a) == textbook(words(a), words(b))
    assert 0.0 <= normalised_distance(a, b) <= 1.0


def test_of_long_texts_few_differences_are_counted_and_many_bounded_from_above() -> None:
    before = [f"w{number % 997}" for number in range(40_000)]
    after = [*before[:7], "new", *before[7:20_000], *before[20_002:]]
    assert word_distance(before, after) == word_distance(after, before) == 3
    other = [f"v{number % 991}" for number in range(30_000)]
    assert word_distance(before, other) == 40_000
    assert normalised_distance(before, other) == 1.0


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_no_comparison_takes_more_than_its_steps(a: int, b: int) -> None:
    compared = [(len(x), len(y)) for x, y in pieces(range(a), range(b))]  # type: ignore[arg-type]
    assert sum(x * y for x, y in compared) <= 64 * MAX_STEPS * 1.01
    assert [sum(column) for column in zip(*compared, strict=True)] == [a, b]


def test_a_row_of_marks_is_a_short_word() -> None:
    assert [len(word) for word in words("a" + "\u0301" * 25_000 + "\u0316" * 25_000)] == [MAX_MARKS]  # one with the a
    assert word_distance("a" + "\u0301" * 25_000, "b") == 1


def test_words_may_be_found_once() -> None:
    assert word_distance(words("one two"), "one three") == word_distance("one two", "one three") == 1
