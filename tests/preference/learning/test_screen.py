"""Edits that show nothing, and the reason that each is given; and those that are let through."""

import pytest

from preference.learning import screen

ASKED = "Write to the tenants: the heating in the cellar is repaired on Monday, and the water is off until noon."
DRAFT = "Dear tenants, the heating in the cellar is repaired on Monday. The water is off until noon on that day."
GERMAN = (
    "Liebe Mieter, die Heizung im Keller wird am Montag repariert. Das Wasser ist an diesem Tag bis Mittag abgestellt."
)
CODE = "def total(values):\n    sum = 0\n    for value in values:\n        sum += value\n    return sum\n"


@pytest.mark.parametrize(
    ("edited", "why"),
    [
        (DRAFT, screen.SAME),
        (DRAFT + "\n", screen.SPACES),
        (DRAFT.replace(". ", ".\r\n\r\n"), None),  # a paragraph is layout
        (f"\r\n{DRAFT}  \r\n\r\n", screen.SPACES),
        (DRAFT.replace(" ", "  "), screen.SPACES),
        ("ok", screen.STRANGE),
        ("Thanks!", screen.STRANGE),
        ("milk, butter, eggs, flour, apples, coffee, washing powder", screen.STRANGE),
        (GERMAN, screen.LANGUAGE),
        (DRAFT.replace("Dear tenants", "Hi all"), None),
        ("Heating repaired on Monday, water off until noon.", None),
    ],
)
def test_each_reason(edited: str, why: str | None) -> None:
    assert screen.nothing(ASKED, DRAFT, edited) == why


def test_without_a_draft_there_is_nothing_to_compare() -> None:
    assert screen.nothing(ASKED, "  \n", DRAFT) == screen.EMPTY


def test_a_cut_draft_that_is_completed_was_right_as_far_as_it_went() -> None:
    begun = DRAFT[: DRAFT.index("noon") + 2]  # in the middle of a word
    assert screen.nothing(ASKED, begun, DRAFT, cut=True) == screen.CUT
    assert screen.nothing(ASKED, begun, DRAFT) is None, "nobody cut it: the user wanted more"
    assert screen.nothing(ASKED, begun, DRAFT.replace("Dear tenants", "Hi all"), cut=True) is None


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_a_lines_end_is_one_whatever_its_characters_are(end: str) -> None:
    for text in (DRAFT.replace(". ", ".\n"), CODE):
        assert screen.nothing(ASKED, text, text.replace("\n", end) + end) in (screen.SAME, screen.SPACES)


def test_indentation_of_code_is_no_space() -> None:
    assert screen.nothing("Add them up", CODE, CODE.replace("    ", "\t")) is None
    assert screen.nothing("Add them up", CODE, CODE.replace("0\n", "0  \n")) == screen.SPACES


def test_a_world_of_one_language_is_not_asked_for_it() -> None:
    assert screen.nothing(ASKED, DRAFT, GERMAN, counted=False) is None


def test_a_reason_that_leaves_the_draft_standing_is_told_apart() -> None:
    assert {screen.SAME, screen.SPACES, screen.CUT} == screen.ACCEPTED
    assert not {screen.LANGUAGE, screen.STRANGE, screen.DETAIL, screen.EMPTY} & screen.ACCEPTED
