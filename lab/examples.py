"""Training and test examples for the bundled model: prompts in the server's own layout, each with its right answer."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from lab.inferring import inference_messages
from lab.lexicon import KINDS
from lab.merging import merge_messages
from lab.render import render
from lab.style import PHRASINGS, canonical_phrase, held_out_phrase, random_style, trained_phrase
from lab.world import Facts, Request, random_facts, random_request
from preference.prompt import compose
from store.message import Message
from store.values import Value

Skill = Literal["write", "infer", "merge"]
Shares = Mapping[Skill, float]
"""How often each skill is trained."""
_SYSTEM = (
    "You are a helpful assistant.", "You help with emails and summaries.", "Answer with the text alone.",
    "You are the assistant of a small company.", "Be accurate.",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One prompt with its answer; ``style`` and ``facts`` say what a written answer has to satisfy."""

    skill: Skill
    messages: list[Message]
    answer: str
    facts: Facts | None = None
    style: dict[str, str] = field(default_factory=dict)


def training_examples(seed: int, shares: Shares) -> Iterator[Example]:
    """An endless, reproducible stream of training examples."""
    rng = random.Random(seed)
    makers = {"write": write_example, "infer": infer_example, "merge": merge_example}
    while True:
        yield makers[rng.choices(tuple(shares), tuple(shares.values()))[0]](rng)


def write_example(rng: random.Random, held_out: bool = False, unseen_phrases: bool = False) -> Example:
    """Write for a request. What is asked for stands in the system message, beside the request, in both or nowhere.

    Where both name one attribute, the preference beside the request wins: it is the more specific.
    """
    request = random_request(rng, held_out=held_out)
    task = request.facts.task
    asked = rng.choices((None, rng.randint(1, 7), 0), (0.45, 0.47, 0.08))[0]
    style = random_style(task, rng, asked)
    phrase = held_out_phrase if unseen_phrases else trained_phrase
    values: dict[str, str] = {}
    preferences: dict[str, str] = {}
    placement = rng.random()
    for attribute, value in style.items():
        beside = placement < 0.5 or (placement >= 0.75 and rng.random() < 0.5)
        (preferences if beside else values)[attribute] = phrase(attribute, value, rng)
        if beside and not held_out and rng.random() < 0.03:
            values[attribute] = trained_phrase(attribute, rng.choice(tuple(PHRASINGS[attribute])), rng)
    if rng.random() < 0.1:  # a preference of the other task, which has nowhere to show
        attribute = rng.choice(("heading", "ending") if task == "email" else ("greeting", "signoff"))
        target = preferences if rng.random() < 0.5 else values
        target[attribute] = trained_phrase(attribute, rng.choice(tuple(PHRASINGS[attribute])), rng)
    messages: list[Message] = [{"role": "user", "content": request.text}]
    if rng.random() < 0.04:  # an earlier exchange, in a style of its own
        earlier = random_request(rng, held_out=held_out)
        answer = render(earlier.facts, random_style(earlier.facts.task, rng, rng.randint(0, 8)))
        messages[:0] = [{"role": "user", "content": earlier.text}, {"role": "assistant", "content": answer}]
    if rng.random() < 0.4:
        messages.insert(0, {"role": "system", "content": rng.choice(_SYSTEM)})
    composed = compose(
        messages, [Value(preference=v) for v in _shuffled(values, rng)], list(_shuffled(preferences, rng))
    )
    return Example("write", composed, render(request.facts, style), request.facts, style)


def infer_example(rng: random.Random, held_out: bool = False) -> Example:
    """Infer the preferences behind an edit: of every attribute that changed, the value it changed to."""
    request: Request = random_request(rng, held_out=held_out)
    facts, task = request.facts, request.facts.task
    before = random_style(task, rng, rng.choices((0, rng.randint(1, 7), 8), (0.4, 0.35, 0.25))[0])
    changes = random_style(task, rng, rng.choices((0, 8, rng.randint(1, 7)), (0.05, 0.25, 0.7))[0])
    after = {**before, **changes}
    edited_facts = facts
    if rng.random() < 0.1:  # a correction of a fact says nothing about style
        corrected = random_facts(next(k for k in KINDS if k.name == facts.kind), rng, held_out)
        slot = rng.choice(("name", "when", "where", "topic"))
        edited_facts = replace(facts, **{slot: getattr(corrected, slot)})
    learned = [canonical_phrase(a, v) for a, v in sorted_style(task, after) if before.get(a) != v]
    answer = "\n".join(f"- {p}" for p in learned) or "none"
    return Example("infer", inference_messages(render(facts, before), render(edited_facts, after)), answer)


def merge_example(rng: random.Random, held_out: bool = False) -> Example:
    """Merge preferences, oldest first: of each attribute the latest line stays, attributes in their own order."""
    attributes = rng.sample(tuple(PHRASINGS), rng.randint(1, 8))
    pairs = [(a, rng.choice(tuple(PHRASINGS[a]))) for a in attributes]
    for attribute in rng.sample(attributes, rng.randint(0, min(5, len(attributes)))):
        pairs.append((attribute, rng.choice(tuple(PHRASINGS[attribute]))))
    if rng.random() < 0.3:
        rng.shuffle(pairs)
    canonical = rng.random() < 0.6
    lines = [(a, canonical_phrase(a, v) if canonical else trained_phrase(a, v, rng)) for a, v in pairs]
    latest = dict(lines)
    kept = [latest[attribute] for attribute in PHRASINGS if attribute in latest]
    return Example("merge", merge_messages([text for _, text in lines]), "\n".join(f"- {p}" for p in kept))


def sorted_style(task: str, style: dict[str, str]) -> list[tuple[str, str]]:
    """The asked-for attributes in the order in which they show in a text."""
    return [(a, style[a]) for a in random_style(task, random.Random(0)) if a in style]


def _shuffled(phrases: dict[str, str], rng: random.Random) -> list[str]:
    return rng.sample(list(phrases.values()), len(phrases))
