"""What is read of a request, and that requests of one kind are near whatever they are about."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from preference.ports import Vectors
from preference.recall.embedder import SentenceEmbedder
from preference.recall.kind import CHARACTERS, HEAD, TAIL, TURNS, KindEmbedder, Recipe, asked, context_of, instruction
from store.message import Message

LONG = " ".join(["word"] * 61)


def cosine(kinds: KindEmbedder, a: Vectors, b: Vectors) -> float:
    """Of the parts that say the kind."""
    a, b = a[: kinds.kinds], b[: kinds.kinds]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def user(content: object) -> Message:
    return {"role": "user", "content": content}


class Words:
    """Reads hashed words: nothing of a language."""

    name = "words"

    def read(self, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
        rows = np.full((len(texts), 64), 1e-3, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % 64] += 1
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows, rows


@pytest.fixture(scope="module")
def kinds() -> KindEmbedder:
    return KindEmbedder(SentenceEmbedder())


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Write to Ann.", "Write to Ann."),
        ("  Write to Ann.  \n\n\n Be brief. ", "Write to Ann.\nBe brief."),
        ("Fix this:\n```py\nprint(1)\n```\nplease", "Fix this:\nplease"),
        ("Fix this:\n```py\nprint(1)", "Fix this:"),
        (f"Sum this up:\n\n{LONG}", "Sum this up:"),
        (f"Sum this up:\n{LONG}", "Sum this up:"),
        (f"{LONG}\n\nSum this up.", "Sum this up."),
        (f'Sum up "{LONG}" please.', "Sum up  please."),
        ("> he wrote\n> this\nAnswer him.", "Answer him."),
        ("```\nonly code\n```", "```\nonly code\n```"),
        (" ", ""),
    ],
)
def test_the_instruction_is_what_is_left_without_material(text: str, kept: str) -> None:
    assert instruction(text) == kept


def test_of_a_long_instruction_head_and_tail_are_kept_once_and_for_all() -> None:
    text = "a" * 500 + "b" * 500
    kept = instruction(text)
    assert kept.startswith("a" * HEAD)
    assert kept.endswith("b" * TAIL)
    assert len(kept) <= HEAD + TAIL + 3
    assert instruction(kept) == kept


def test_what_was_asked_is_the_users_last_word_first() -> None:
    conversation: list[Message] = [
        {"role": "system", "content": "Be kind."},
        user("first"),
        {"role": "assistant", "content": "answer"},
        user([{"type": "text", "text": "second"}, {"type": "image_url", "image_url": {}}]),
        user(""),
        user(None),
    ]
    assert asked(conversation) == ["second", "first"]
    assert asked([]) == []
    assert asked([user(str(number)) for number in range(20)]) == [str(number) for number in range(19, 19 - TURNS, -1)]
    (long,) = asked([user("a" * CHARACTERS + "b")])
    assert len(long) <= CHARACTERS
    assert long.endswith("ab")


def test_a_space_of_kinds_is_one_of_its_recipe_and_encoder() -> None:
    made = KindEmbedder(Words())
    assert made.name.startswith("words, kinds ")
    assert KindEmbedder(Words()).name == made.name
    assert KindEmbedder(Words(), Recipe(prior=2.0)).name != made.name
    vectors = made.embed(["Write a poem about rain.", "", "数"])
    assert vectors.shape == (3, made.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert made.embed([]).shape == (0, made.dimension)
    assert np.array_equal(vectors, made.embed(["Write a poem about rain.", "", "数"]))


def test_fewer_mistakes_take_a_higher_bar() -> None:
    """The bar stays where it is: what moves are the cosines."""
    a, b = "Write an email to my colleague Jo: lunch is at noon.", "Write an email to my boss: I am ill."
    strict, lax = (KindEmbedder(Words(), Recipe(mistaken=share)) for share in (0.0001, 0.05))
    assert cosine(strict, *strict.embed([a, b])) < cosine(lax, *lax.embed([a, b]))


@pytest.mark.parametrize(
    ("request_", "same", "other"),
    [
        (
            "Write a product description for our lamp: brass, 40 cm, dimmable.",
            "Write a product description for our rucksack: 20 litres, waterproof.",
            "Why does a brass lamp turn green?",
        ),
        ("Can my cat eat cheese?", "Can my rabbit eat cabbage?", "Write an advert for my cat-sitting service."),
        (
            "Make minutes of these notes: Al pays the hall, the choir meets on Tuesday, Bo asks the mayor.",
            "Make minutes of these notes: the fence is painted in May, Jo buys paint, no raffle.",
            "Which paint lasts longest on a wooden fence?",
        ),
        (
            "给客户写一封邮件：货物周三到，请准备好仓库。",
            "给客户写一封邮件：发票已经寄出，请查收。",
            "周三天气怎么样？",
        ),
        ("दाल बनाने की विधि बताओ", "खीर बनाने की विधि बताओ", "दाल में कितना प्रोटीन होता है?"),
    ],
)
def test_the_task_makes_requests_alike_and_not_the_topic(
    kinds: KindEmbedder, request_: str, same: str, other: str
) -> None:
    first, again, another = kinds.embed([request_, same, other])
    assert cosine(kinds, first, again) >= kinds.ALIKE > cosine(kinds, first, another)


@pytest.mark.parametrize(
    "text", ["shorter, please", "Yes.", "bitte etwas förmlicher", "añade la fecha", "再短一点", "no, I meant Tuesday"]
)
def test_what_only_goes_on_takes_the_kind_of_what_was_asked_before(kinds: KindEmbedder, text: str) -> None:
    first = "Write an email to my colleague Ken: the key is at the desk, I am away on Monday."
    said: list[Message] = [user(first), {"role": "assistant", "content": "Dear Ken, ..."}, user(text)]
    found, vector = context_of(kinds, said)
    assert found == first
    assert np.array_equal(vector, kinds.embed([first])[0])
    assert context_of(kinds, said[2:])[0] == text  # nothing was asked before


def test_a_new_task_in_a_conversation_is_its_own(kinds: KindEmbedder) -> None:
    new = "Now write a poem of four lines about the harbour at night, for my grandmother's birthday."
    assert context_of(kinds, [user("Write an email to my colleague Ken: I am away."), user(new)])[0] == new
    assert context_of(kinds, [])[0] == ""
