"""Which language a text is in, and when two are surely in two."""

import pytest

from preference.learning.language import LANGUAGES, differ, language

ENGLISH = "The heating in the cellar is repaired on Monday, and the water is off until noon."
GERMAN = "Die Heizung im Keller wird am Montag repariert, und das Wasser ist bis Mittag abgestellt."
FRENCH = "Le chauffage de la cave sera réparé lundi, et l'eau sera coupée jusqu'à midi."
CHINESE = "地下室的暖气星期一修理，中午之前停水。"


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (FRENCH, "fr"), (CHINESE, "zh")])
def test_a_text_is_in_its_language(text: str, code: str) -> None:
    assert language(text) == code
    assert not differ(text, text)


def test_two_texts_in_two_languages_differ() -> None:
    assert differ(ENGLISH, GERMAN)
    assert differ(FRENCH, CHINESE)


def test_a_text_that_may_be_in_any_language_differs_from_none() -> None:
    assert not differ(ENGLISH, "OK 12")


def test_any_text_has_one() -> None:
    for text in ("", "12:30", "🙂", "a" * 100_000):
        assert language(text) in LANGUAGES
