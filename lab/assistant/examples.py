"""The training examples: an endless stream in which every stretch has a bit of all."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.assistant.chat import ALONE, refusal
from lab.assistant.content import Answered
from lab.assistant.drawing import Drawn, asked, borne
from lab.assistant.edit_examples import edit_example
from lab.assistant.render import render
from lab.assistant.style import BY_ID, WISHES, Wish, say, with_wishes
from preference.learning.layout import sentences
from preference.prompt import compose
from store.message import Message
from store.values import Value

SHARES = {"write": 0.52, "revise": 0.05, "learn": 0.22, "chat": 0.20, "refuse": 0.01}
_SYSTEMS = ("You are a helpful assistant.", "You write texts for a small company.", "Answer with the text alone.")
_UNKNOWN = (
    "In SQL, write keywords in capitals.", "Answer in rhyme when asked for a song.",
    "Use the metric system in recipes.",
    "Prefer const over let in JavaScript.", "Name the source of statistics.", "Write tests first.",
    "In minutes, list who was there.", "Use tabs in Makefiles.", "Put ingredients first in recipes.",
)  # fmt: skip
_OF_ITSELF = re.compile(r"(?i)\bAI\b|chatbot|assistant|\bI(?:'m| am) here\b|\bassist\b|thrilled")
"""Small models like to speak of themselves where they were asked for something else."""
_LAID_OUT = re.compile(r"\n|[*#`]|\d\. |: ")
_IDLE = ("no_contract", "no_emoji", "no_exclaim", "no_hashtags", "prose", "firm")


@dataclass(frozen=True)
class Example:
    """One prompt with its answer. ``whole`` is false where the answer was cut, and does not end there."""

    skill: str
    messages: list[Message]
    answer: str
    whole: bool = True


def examples(seed: int, chats: Sequence[tuple[str, str, bool]] = ()) -> Iterator[Example]:
    """Reproducible by ``seed``; ``chats`` are the base model's own answers, and whether they are whole."""
    rng = random.Random(seed)
    chats = [chat for chat in chats if not _OF_ITSELF.search(chat[1]) or chat[0] in ALONE]
    answered = sentenced(chats)
    skills, weights = list(SHARES), list(SHARES.values())
    while True:
        skill = rng.choices(skills, weights)[0]
        if skill == "chat" and chats:
            request, answer, whole = rng.choice(chats)
            yield Example("chat", [{"role": "user", "content": request}], answer, whole)
        elif skill == "refuse":
            request, answer = refusal(rng)
            yield Example("refuse", [{"role": "user", "content": request}], answer)
        elif skill == "learn":
            messages, answer = edit_example(rng)
            yield Example("learn", messages, answer)
        else:
            yield revise(rng) if skill == "revise" else write(rng, answered)


def sentenced(chats: Sequence[tuple[str, str, bool]]) -> list[tuple[str, tuple[str, ...]]]:
    """Of ``chats`` the whole answers in plain prose, by sentences: wishes are learned on them, too."""
    found = []
    for request, answer, whole in chats:
        said = tuple(sentences(answer))
        if whole and 2 <= len(said) <= 6 and not _LAID_OUT.search(answer) and all(s[-1] in ".!?" for s in said):
            found.append((request, said))
    return found


def write(rng: random.Random, answered: Answered = ()) -> Example:
    """Write for a request, with wishes in its block, in the values, in its own words, or with none."""
    drawn = asked(rng, answered=answered)
    wishes = borne(drawn, rng, rng.choices((0, 1, 2, 3, 4), (0.14, 0.36, 0.24, 0.18, 0.08))[0])
    messages: list[Message] = [{"role": "user", "content": drawn.request}]
    if rng.random() < 0.15:
        messages.insert(0, {"role": "system", "content": rng.choice(_SYSTEMS)})
    said, met = _beside(drawn, wishes, rng)
    where = rng.random()
    if where < 0.12 and wishes:
        messages[-1]["content"] = f"{drawn.request.rstrip('.')}. {' '.join(wish.text for wish in wishes)}"
        return Example("write", messages, render(drawn.task, with_wishes(drawn.own, wishes)))
    stated = rng.choice((len(said), rng.randint(0, len(said)))) if where < 0.37 else 0
    values = [Value(preference=text) for text in said[:stated]]
    return Example(
        "write",
        compose(messages, values, said[stated:]),
        render(drawn.task, with_wishes(drawn.own, met)),
    )


def revise(rng: random.Random) -> Example:
    """A second message asks for a change of the first answer."""
    drawn = asked(rng)
    wishes = borne(drawn, rng, rng.choice((1, 1, 2)))
    messages: list[Message] = [
        {"role": "user", "content": drawn.request},
        {"role": "assistant", "content": drawn.draft},
        {"role": "user", "content": " ".join(wish.text for wish in wishes) or "Thanks!"},
    ]
    answer = render(drawn.task, with_wishes(drawn.own, wishes)) if wishes else "You are welcome."
    return Example("revise", messages, answer)


def _beside(drawn: Drawn, wishes: list[Wish], rng: random.Random) -> tuple[list[str], list[Wish]]:
    """What is said, and which wishes hold: some say nothing about this text, of two for one slot the later holds."""
    said = [wish.text for wish in wishes]
    met = list(wishes)
    if wishes and rng.random() < 0.07:
        first = wishes[0]
        rivals = [k for k in WISHES if k.slot == first.slot and k.id != first.id and not k.new]
        if rivals:
            said.insert(0, say(rng.choice(rivals), drawn.task, rng).text)
    if rng.random() < 0.12:
        said.insert(rng.randint(0, len(said)), rng.choice(_UNKNOWN))
    if rng.random() < 0.12:  # what is so anyway
        idle = say(BY_ID[rng.choice(_IDLE)], drawn.task, rng)
        held = with_wishes(drawn.own, wishes)
        free = all(idle.slot != wish.slot for wish in wishes)
        if free and render(drawn.task, with_wishes(held, [idle])) == render(drawn.task, held):
            said.insert(rng.randint(0, len(said)), idle.text)
    if drawn.task.kind != "code" and rng.random() < 0.05:
        of_code = rng.choice([k for k in WISHES if k.slot in ("code", "hints", "docstring", "comments")])
        said.insert(rng.randint(0, len(said)), say(of_code, drawn.task, rng).text)
    return said, met
