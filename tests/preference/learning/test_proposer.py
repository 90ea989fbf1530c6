"""What of a model's answer is a wish: the lines it marks, less what is about one text alone."""

from collections.abc import Sequence

import pytest

from preference.learning.difference import hunks
from preference.learning.prompt_file import PromptFile
from preference.learning.proposer import LONGEST, Proposals, Proposer, parse, refusal
from preference.ports import Generation
from store.message import Message

ASKED = "Write to Mr Albrecht that the boiler in Kiel is repaired for 420 euros."
DRAFT = "Hello! We are so happy to tell you that our colleague Albrecht repaired the boiler for 420 euros."
EDITED = "The boiler is repaired. It costs 420 euros, dear Albrecht."
SHOWN = (ASKED, DRAFT, EDITED)
PROMPTS = PromptFile.load()


class Saying:
    """Answers every question with one text, and keeps what it was asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[list[Message]] = []

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        self.asked.append(list(messages))
        return Generation(self.text, 50, 7)


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ("- Be brief.\n- No emojis.", ["Be brief.", "No emojis."]),
        (
            "* Be brief.\n• No emojis.\n3) Use lists.\n4. Be kind.",
            ["Be brief.", "No emojis.", "Use lists.", "Be kind."],
        ),
        ("Sure! Here they are:\n\n- Be brief.\n\nHope it helps.", ["Be brief."]),
        ("- Be brief\n- be brief.", ["Be brief"]),
        ('- "Be brief."', ["Be brief."]),
        ("Be brief.", ["Be brief."]),
        ("I see nothing.\nReally not.", []),
        ("none", []),
        ("- None.", []),
        ("Keine", []),
        ("", []),
        ("\n\n", []),
        ("- " + "x" * (LONGEST + 1), []),
    ],
)
def test_lines(answer: str, lines: list[str]) -> None:
    assert parse(answer) == lines


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("The user removed the greeting.", "describes the edit"),
        ("This edit is shorter.", "describes the edit"),
        ("Name the price of 420 euros.", "number"),
        ("Write politely and formally, as to Albrecht.", "name"),
        ("Tell that the boiler repaired", "what this text says"),
        ("Put the photographer's name last, after a slash.", "example of the prompt"),
    ],
)
def test_what_is_no_wish_is_refused_with_the_reason(text: str, why: str) -> None:
    examples = " ".join(example.answer for example in PROMPTS.example)
    assert why in str(refusal(text, SHOWN, examples))


@pytest.mark.parametrize("text", ["Be brief.", "Do not use exclamation marks.", "Leave out how we feel about it."])
def test_a_wish_is_none_of_these(text: str) -> None:
    assert refusal(text, SHOWN, " ".join(example.answer for example in PROMPTS.example)) is None


async def test_at_most_so_many_lines_and_what_it_cost() -> None:
    model = Saying("- Be calm.\n- The user cut it.\n- Be plain.\n- Be kind.")
    proposer = Proposer(model, PROMPTS, system_role=True)
    found = await proposer.propose(ASKED, DRAFT, EDITED, hunks(DRAFT, EDITED, code=False), limit=2)
    assert found.texts == ["Be calm.", "Be plain."]
    assert list(found.dropped) == ["The user cut it."]
    assert (found.prompt_tokens, found.completion_tokens) == (50, 7)
    assert [message["role"] for message in model.asked[0]][:2] == ["system", "user"]


async def test_a_model_without_a_system_role_is_asked_without() -> None:
    model = Saying("none")
    await Proposer(model, PROMPTS, system_role=False).propose(ASKED, DRAFT, EDITED, (), limit=2)
    roles = [message["role"] for message in model.asked[0]]
    assert "system" not in roles
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_proposals_add_up() -> None:
    one, other = Proposals(["a", "b"], {"c": "why"}, 1, 2), Proposals(["b", "d"], {"e": "so"}, 3, 4)
    assert one + other == Proposals(["a", "b", "d"], {"c": "why", "e": "so"}, 4, 6)
