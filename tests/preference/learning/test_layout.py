"""The parts of letters, in several languages, and texts that are none."""

import pytest

from preference.learning.layout import Letter, letter, sentences


@pytest.mark.parametrize(
    ("greeting", "sign_off"),
    [
        ("Dear Sam", "Best regards,\nBo"),
        ("Hi all", "Cheers\nBo"),
        ("Sehr geehrte Frau Beck", "Mit freundlichen Grüßen\nJonas Weber"),
        ("Liebe Eltern", "Viele Grüße\nBo"),
        ("Bonjour Madame", "Cordialement\nLuc Martin"),
        ("Hola Ana", "Un saludo\nEva"),
        ("Gentile dottoressa Rossi", "Cordiali saluti\nLuca"),
        ("Bom dia Ana", "Abraços\nRui"),
    ],
)
def test_a_letter_has_its_parts(greeting: str, sign_off: str) -> None:
    body = "The work is done, and it was done well, as everybody in the house can see."
    assert letter(f"{greeting},\n\n{body}\n\n{sign_off}") == Letter(greeting, f"\n{body}\n", sign_off)


def test_what_is_no_letter_is_all_body() -> None:
    for text in ("The work is done.", "- milk\n- eggs", "Highlights of the year:\n\n- more work", ""):
        assert letter(text) == Letter("", text, "")


def test_a_name_alone_after_a_blank_line_signs() -> None:
    assert letter("The work is done.\n\nBo Weber").sign_off == "Bo Weber"
    assert letter("The work is done.\n\nit was hard").sign_off == ""


def test_a_greeting_in_the_first_line_of_the_text() -> None:
    assert letter("Hi Sam, the work is done and everything else is well on its way.").greeting == "Hi Sam"


def test_sentences_and_lines() -> None:
    assert sentences("It is done. Is it? Yes!\n- one\n- two\n\n---") == [
        "It is done.",
        "Is it?",
        "Yes!",
        "- one",
        "- two",
    ]
    assert sentences("完成了。谢谢！") == ["完成了。", "谢谢！"]


def test_a_closing_of_ones_own_signs_with_the_name_below() -> None:
    assert letter("Hello everyone,\n\nNo practice on Wednesday.\n\nSplash on,\nGreta").sign_off == "Splash on,\nGreta"
    assert letter("Bring what you like.\n\nBis dann und gute Fahrt,\nJo Weber").sign_off.startswith("Bis dann")
    assert letter("We meet at the hall.\n\n12 Hill Street,\nLeeds").sign_off == "", "an address"
    assert letter("It rained.\nWe ran,\nLeeds").sign_off == "", "no blank line"
