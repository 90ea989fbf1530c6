"""What differs: hunks of words and of lines, and whether a text is code."""

import pytest

from preference.learning.difference import Hunk, changed, hunks, is_code

CODE = "def f(x):\n    return x + 1\n"


def test_near_hunks_are_one_and_distant_ones_are_not() -> None:
    assert hunks("Hi Sam and Ann, all is done.", "Dear Sam or Ann, all is done.", code=False) == [
        Hunk("Hi Sam and", "Dear Sam or")
    ]
    found = hunks("Hi Sam, all of the work is done now.", "Dear Sam, all of the work is over now.", code=False)
    assert found == [Hunk("Hi", "Dear"), Hunk("done", "over")]


def test_what_is_added_or_removed_has_an_empty_side() -> None:
    assert hunks("It is done.", "It is done. Bo", code=False) == [Hunk("", " Bo")]
    assert hunks("It is done. Bo", "It is done.", code=False) == [Hunk(" Bo", "")]
    assert hunks("It is done.", "It is done.", code=False) == []


def test_code_is_compared_by_lines_with_their_white_space() -> None:
    assert hunks(CODE, CODE.replace("    ", "\t"), code=True) == [Hunk("    return x + 1\n", "\treturn x + 1\n")]


@pytest.mark.parametrize("code", [False, True])
def test_a_lines_end_is_one_whatever_its_characters_are(code: bool) -> None:
    assert hunks(CODE, CODE.replace("\n", "\r\n"), code=code) == []


def test_changed_counts_words_out_and_in() -> None:
    assert changed("a b c d", "a x y c") == (2, 2)
    assert changed("a b", "a b") == (0, 0)
    assert changed("", "a b") == (0, 2)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (CODE, True),
        ("SELECT name\nFROM users\nWHERE id = 1;", True),
        (f"Here it is:\n```python\n{CODE * 3}```", True),
        ("Dear Sam,\n\nall is done.\n\nBo", False),
        ("A long explanation of what happens here, which is prose.\n" * 3 + "```\nx = 1\n```", False),
        ("- milk\n- eggs", False),
        ("", False),
        ("\n \n", False),
    ],
)
def test_code_is_told_from_prose(text: str, code: bool) -> None:
    assert is_code(text) is code
