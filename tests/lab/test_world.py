"""The world's rules agree with each other: what is rendered is detected, and the user's edit satisfies the user."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.lexicon import KINDS
from lab.render import detect, render, slots
from lab.simulated_user import SimulatedUser
from lab.style import DEFAULT, HELD_OUT, MEANING, PHRASINGS, TASK_ATTRIBUTES, random_style
from lab.world import random_facts, random_request


@given(st.integers(0, 10**9), st.integers(0, 8))
@settings(max_examples=300, deadline=None)
def test_a_rendered_style_is_detected(seed: int, asked: int) -> None:
    rng = random.Random(seed)
    facts = random_request(rng).facts
    style = random_style(facts.task, rng, asked)
    shown = detect(render(facts, style), facts)
    assert shown == {a: style.get(a, DEFAULT) for a in TASK_ATTRIBUTES[facts.task]}


@given(st.integers(0, 10**9))
@settings(max_examples=200, deadline=None)
def test_the_users_edit_satisfies_the_user_and_keeps_the_facts(seed: int) -> None:
    rng = random.Random(seed)
    kind = rng.choice(KINDS)
    user = SimulatedUser.invent([kind.name], seed)
    request = user.request(kind, rng)
    answer = render(request.facts, random_style(kind.task, rng, rng.randint(0, 8)))
    edited = user.edit(request, answer)
    assert detect(edited, request.facts) == user.wants(request)
    assert all(slot.lower() in edited.lower() for slot in slots(request.facts, user.wants(request)))
    assert user.edit(request, edited) == edited


def test_the_edit_is_the_smallest_where_the_user_does_not_care() -> None:
    rng = random.Random(3)
    request = random_request(rng, KINDS[0])
    user = SimulatedUser({KINDS[0].name: {"tone": "formal"}})
    answer = render(request.facts, {"format": "bullets", "emoji": "end"})
    assert user.edit(request, answer) == render(request.facts, {"format": "bullets", "emoji": "end", "tone": "formal"})


@pytest.mark.parametrize("answer", ["", "???", "Hello", "\n\n", "✅"])
def test_the_user_rewrites_an_answer_that_is_beyond_repair(answer: str) -> None:
    rng = random.Random(3)
    user = SimulatedUser.invent([KINDS[0].name], 1)
    request = user.request(KINDS[0], rng)
    assert detect(user.edit(request, answer), request.facts) == user.wants(request)


def test_phrasings_are_unambiguous_and_some_are_held_out() -> None:
    assert sum(len(p) for values in PHRASINGS.values() for p in values.values()) == len(MEANING)
    assert all(len(p) >= 8 + HELD_OUT for values in PHRASINGS.values() for p in values.values())


def test_held_out_facts_are_never_trained_on() -> None:
    rng = random.Random(0)
    pairs = {held: {random_facts(KINDS[0], rng, held).what for _ in range(3000)} for held in (True, False)}
    assert all(pairs.values())
    assert not pairs[True] & pairs[False]
