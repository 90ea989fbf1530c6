"""What a comment says: its wishes, once each, and no praise, no statement, and no wish that it forbids."""

import pytest

from preference.learning import remarks


@pytest.mark.parametrize(
    ("comment", "instructions"),
    [
        ("Thanks! You forgot Peter. 5 stars", []),
        ("Please use bullets. It was Monday.", ["use bullets."]),
        ("Too long!", ["Keep it short and concise; leave out what is not needed."]),
        ("There should be no emoji. Good morning should be the greeting.",
         ["There should be no emoji.", "Good morning should be the greeting."]),
    ],
)  # fmt: skip
def test_a_comment_is_read_for_its_instructions(comment: str, instructions: list[str]) -> None:
    assert remarks.parts(comment) == instructions


@pytest.mark.parametrize(
    ("comment", "wishes"),
    [
        ("Never use emojis", ["Do not use emojis."]),
        ("don't use contractions", ["Do not use contractions: write “do not”, “it is”."]),
        ("perfect but shorter", ["Keep it short and concise; leave out what is not needed."]),
        ("use bullets, no table", ["Use bullet points (a list).", "Do not use tables."]),
    ],
)
def test_what_is_forbidden_is_not_wished(comment: str, wishes: list[str]) -> None:
    assert remarks.wishes(comment, "en") == wishes
