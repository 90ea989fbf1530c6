"""Style attributes of the synthetic world; the model's prompt file has the phrasings that ask for each of their values.

Every attribute has an unnamed default that no phrasing asks for, so a style that is asked for always shows.
The last ``HELD_OUT`` phrasings of a value are never trained on; the first is the one the model answers with.
"""

import random
from collections.abc import Mapping

from lab.inferring import PROMPTS

HELD_OUT = 2
DEFAULT = "default"
Style = Mapping[str, str]
"""Attribute name to value name; an attribute that is left out, or is ``default``, is not asked for."""

PHRASINGS = PROMPTS.known
"""By attribute and value: the same file tells the server what the model knows."""

TASK_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "email": ("emoji", "greeting", "tone", "format", "first", "length", "question", "signoff"),
    "summary": ("emoji", "heading", "tone", "format", "first", "length", "question", "ending"),
}
"""The attributes that apply to a task, in the order in which they show in a text."""

MEANING: dict[str, tuple[str, str]] = {
    phrase: (attribute, value)
    for attribute, values in PHRASINGS.items()
    for value, phrases in values.items()
    for phrase in phrases
}


def canonical_phrase(attribute: str, value: str) -> str:
    """The phrasing that inference answers with."""
    return PHRASINGS[attribute][value][0]


def trained_phrase(attribute: str, value: str, rng: random.Random) -> str:
    """A random phrasing of the training split, the canonical one more often than the rest."""
    phrases = PHRASINGS[attribute][value][:-HELD_OUT]
    return phrases[0] if rng.random() < 0.25 else rng.choice(phrases)


def held_out_phrase(attribute: str, value: str, rng: random.Random) -> str:
    """A random phrasing that training never saw."""
    return rng.choice(PHRASINGS[attribute][value][-HELD_OUT:])


def random_style(task: str, rng: random.Random, asked: int | None = None) -> dict[str, str]:
    """A style that asks for ``asked`` random attributes of the task (all of them by default)."""
    attributes = TASK_ATTRIBUTES[task]
    chosen = set(rng.sample(attributes, len(attributes) if asked is None else asked))
    return {a: rng.choice(tuple(PHRASINGS[a])) for a in attributes if a in chosen}
