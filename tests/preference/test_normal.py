"""NFC, of texts that would take the standard library minutes as well."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from preference.normal import MAX_MARKS, nfc
from preference.text import as_data

MARKS = "\u0301\u0316\u0327\u0344\u0e48\u3099"
ordinary = st.lists(
    st.sampled_from(["e", "か", "ก", "한", "\u1112\u1161\u11ab", " ", *MARKS]), max_size=MAX_MARKS // 2
).map("".join)


@given(ordinary | st.text(max_size=MAX_MARKS // 2))
def test_ordinary_text_is_normalised_as_ever(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text)


@given(st.lists(st.sampled_from(["a", *(mark * 40 for mark in MARKS)]), max_size=6).map("".join))
def test_rows_of_marks_are_bounded_and_what_it_gives_stays(text: str) -> None:
    given = nfc(text)
    rows = "".join(" " if unicodedata.combining(c) == 0 else c for c in given).split(" ")
    assert max(map(len, rows)) <= MAX_MARKS
    assert nfc(given) == given == unicodedata.normalize("NFC", given)


def test_a_line_of_data_is_bounded_too_where_invisible_characters_part_the_marks() -> None:
    line = as_data("a" + ("\u0301" * MAX_MARKS + "\u034f" + "\u0316" * MAX_MARKS) * 50, limit=10_000)
    assert len(line) <= MAX_MARKS + 1
    assert as_data(line, limit=10_000) == line
