"""Edits and what they show, in the layout in which the learner asks: wishes met by the edit, or a text set right."""

import random
import re
from pathlib import Path

from lab.assistant.content import CONTENT
from lab.assistant.drawing import Drawn, asked, borne
from lab.assistant.render import render
from lab.assistant.style import BY_ID, Wish, with_wishes
from preference.learning.difference import hunks, is_code
from preference.learning.prompt_file import PromptFile
from store.message import Message

PROMPTS = PromptFile.load(Path(__file__).parent / "learner.toml")
NOTHING = 0.35
"""The share of edits that teach nothing."""


def edit_example(rng: random.Random) -> tuple[list[Message], str]:
    """A question about one edit, and its answer."""
    drawn = asked(rng)
    before = borne(drawn, rng, rng.choice((0, 0, 1)))
    if rng.random() < NOTHING:
        draft = render(drawn.task, with_wishes(drawn.own, before))
        edited = set_right(draft, rng)
        if edited != draft:
            return question(drawn.request, draft, edited), "none"
    wishes = [wish for wish in borne(drawn, rng, rng.choice((1, 1, 2, 3))) if all(_free(wish, b) for b in before)]
    draft, edited = edit(drawn, before, wishes)
    if draft == edited or not wishes:
        return edit_example(rng)
    return question(drawn.request, draft, edited), "\n".join(f"- {canonical(wish)}" for wish in wishes)


def edit(drawn: Drawn, before: list[Wish], wishes: list[Wish]) -> tuple[str, str]:
    """The draft with the wishes of before, and the edit with all."""
    draft = render(drawn.task, with_wishes(drawn.own, before))
    return draft, render(drawn.task, with_wishes(drawn.own, [*before, *wishes]))


def question(request: str, draft: str, edited: str) -> list[Message]:
    """What the learner asks."""
    return PROMPTS.messages(request, draft, edited, hunks(draft, edited, code=is_code(edited)), system_role=True)


def canonical(wish: Wish) -> str:
    """The wish in its first wording, with its own parameter."""
    kind = BY_ID[wish.id]
    values = {value for value in wish.sets.values()}
    x = next((value.lstrip("=") for value in values if "{x}" in "".join(kind.set.values()) and value != "bullets"), "")
    return kind.said[0].replace("{x}", x).replace("{kind}", "such texts")


def set_right(text: str, rng: random.Random) -> str:
    """``text`` with a fact changed, a typing error mended or made, or a word exchanged: what teaches nothing."""
    slots = CONTENT["slots"]
    found = [
        (word, name)
        for name in ("day", "first", "project", "event", "thing", "item", "place")
        for word in slots[name]
        if re.search(rf"\b{re.escape(word)}\b", text)
    ]
    numbers = re.findall(r"\b\d+\b", text)
    choice = rng.random()
    if found and choice < 0.55:
        word, name = rng.choice(found)
        return re.sub(rf"\b{re.escape(word)}\b", rng.choice(slots[name]), text)
    if numbers and choice < 0.85:
        number = rng.choice(numbers)
        return re.sub(rf"\b{number}\b", str(max(1, int(number) + rng.choice((-2, -1, 1, 2, 5)))), text, count=1)
    words = re.findall(r"\b[a-z]{5,}\b", text)
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(1, len(word) - 2)
    return text.replace(word, word[:at] + word[at + 1] + word[at] + word[at + 2 :], 1)


def _free(wish: Wish, other: Wish) -> bool:
    return wish.slot != other.slot and not {wish.slot, other.slot} <= {"layout", "length", "sign"}
