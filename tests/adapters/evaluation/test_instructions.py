import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.evaluation.instructions import OPPOSITES, Instruction

RIGHT = {
    "Write the whole answer in capital letters.": "BOIL WATER. ADD TEA!",
    "Write the whole answer in small letters, without a single capital one.": "boil water, add tea.",
    "Answer in one short sentence.": "Boil water and add tea.",
    "Answer in at least five sentences.": "Boil water. Add tea. Wait. Pour. Is it hot? Drink it.",
    "Answer with a list only: begin every line with a hyphen.": "- Boil water.\n\n- Add tea.",
    "Answer in plain prose, without a list.": "Boil water - 3 minutes.\nThen add tea.",
    "Begin the answer with the word Indeed.": "Indeed, boil water.",
    "Begin the answer with the word Honestly.": '"Honestly, boil water."',
    "End the answer with the word Over.": "Boil water. Over.",
    "End the answer with the word Finis.": "Boil water.\n\nFinis",
    "Answer in French.": "Faites bouillir de l'eau et versez la sur le thé dans une tasse.",
    "Answer in German.": "Wasser kochen und den Tee mit dem Wasser in eine Kanne geben.",
}


@pytest.mark.parametrize("opposites", OPPOSITES, ids=lambda pair: pair[0].text)
def test_an_answer_obeys_its_own_instruction_and_not_the_opposite_one(
    opposites: tuple[Instruction, Instruction],
) -> None:
    one, other = opposites
    assert one.obeyed(RIGHT[one.text])
    assert other.obeyed(RIGHT[other.text])
    assert not one.obeyed(RIGHT[other.text])
    assert not other.obeyed(RIGHT[one.text])


@given(st.text(max_size=200))
def test_no_answer_obeys_both(text: str) -> None:
    assert not any(one.obeyed(text) and other.obeyed(text) for one, other in OPPOSITES)


def test_an_empty_answer_obeys_nothing() -> None:
    assert not any(wish.obeyed("") for pair in OPPOSITES for wish in pair)
