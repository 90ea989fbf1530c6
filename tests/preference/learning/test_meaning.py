"""Two wishes in other words: the same, or not."""

import pytest

from preference.learning.meaning import first_same, same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Use bullet points", "use  bullet points."),
        ("Use bullet points.", "Write with bullet points, please."),
        ("Do not use emojis.", "No emojis."),
        ("Avoid emojis", "Never use emojis"),
        ("Keine Emojis verwenden", "Bitte keine Emojis"),
        ("Sign off with “Bo”.", "Always sign off with “bo”."),
    ],
)
def test_the_same(a: str, b: str) -> None:
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Use emojis.", "Do not use emojis."),
        ("Verwende Emojis.", "Verwende keine Emojis."),
        ("Utilise des listes", "N'utilise jamais de listes"),
        ("Use single quotes.", "Use double quotes."),
        ("Sign off with “Bo”.", "Sign off with “Best, Bo”."),
        ("At most 3 sentences.", "At most 5 sentences."),
        ("Use bullet points.", "Use a formal tone."),
    ],
)
def test_another(a: str, b: str) -> None:
    assert not same(a, b)
    assert not same(b, a)


def test_words_that_say_nothing_make_no_two_wishes_one() -> None:
    assert not same("Always use it", "Please write this")


def test_the_first_that_says_it() -> None:
    others = ["Use emojis.", "Use bullet points", "use bullet points."]
    assert first_same("Use bullet points.", others) == "Use bullet points"
    assert first_same("Be brief.", others) is None
