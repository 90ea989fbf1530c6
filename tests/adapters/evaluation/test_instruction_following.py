from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dataset import HeldOut, build
from adapters.evaluation.instruction_following import (
    MAX_OWN,
    OWN_VALUES,
    SYSTEM,
    VALUES,
    Judged,
    Kept,
    examine,
    items,
    judge,
)
from adapters.evaluation.instructions import OPPOSITES
from store.errors import EngineRejected, EngineUnavailable
from store.message import Message
from store.values import Value
from tests.adapters.evaluation.test_instructions import RIGHT
from tests.adapters.fakes import FakeHost, make_edit

CANDIDATE = "u.v1-candidate"
FORMAL, WARM = Value(preference="Be formal."), Value(preference="Be warm.")


def held_out(count: int = 30, system: str = "") -> list[HeldOut]:
    """Held-out edits under two values in turn, which the user's texts obey."""
    edits = []
    for i in range(count):
        request: list[Message] = [{"role": "system", "content": system}] if system else []
        request.append({"role": "user", "content": f"request {i}"})
        value = (FORMAL, WARM)[i % 2]
        edits.append(make_edit(i, value.preference, request=request, values=[value]))
    return build(edits).held_out


def told(messages: Sequence[Message]) -> tuple[str, str]:
    """The wish that a prompt of the regression set is about, and of which kind it is."""
    said, _, values = "\n".join(str(m["content"]) for m in messages).partition("<values>")
    for kind, part in ((SYSTEM, said), (VALUES, values)):
        if wish := next((wish for wish in RIGHT if wish in part), None):
            return wish, kind
    return next((value.preference for value in (FORMAL, WARM) if value.preference in values), ""), OWN_VALUES


def obedient(model: str | None, messages: Sequence[Message]) -> str:
    wish, _ = told(messages)
    return RIGHT.get(wish, wish)


def deaf_to(place: str) -> Callable[[str | None, Sequence[Message]], str]:
    """A candidate that heeds nothing of one kind; the base model obeys."""

    def answer(model: str | None, messages: Sequence[Message]) -> str:
        return "Always the same." if model and told(messages)[1] == place else obedient(model, messages)

    return answer


async def rows(answer: Callable[[str | None, Sequence[Message]], str], asked: Sequence[HeldOut]) -> dict[str, Judged]:
    host = FakeHost(answer)
    host.names = {CANDIDATE: Path()}
    return {kept.kind: judge(kept) for kept in await examine(host, CANDIDATE, items(asked))}


async def test_a_candidate_that_obeys_as_the_base_model_does_passes() -> None:
    found = await rows(obedient, held_out())
    assert set(found) == {SYSTEM, VALUES, OWN_VALUES}
    for kind in (SYSTEM, VALUES):
        assert found[kind].obeyed == found[kind].obeyed_by_base == found[kind].tried == 2 * len(OPPOSITES)
    assert all(row.passed and not row.skipped and row.lift == (row.lift_of_base or 0) > 0 for row in found.values())


@pytest.mark.parametrize("place", [SYSTEM, VALUES, OWN_VALUES])
async def test_a_candidate_that_is_deaf_in_one_place_fails_there_alone(place: str) -> None:
    found = await rows(deaf_to(place), held_out())
    assert {kind for kind, row in found.items() if not row.passed} == {place}
    assert found[place].lift == 0
    if place != OWN_VALUES:
        assert found[place].obeyed == 0


async def test_who_cannot_be_blamed_is_not() -> None:
    found = await rows(lambda model, messages: "Always the same.", held_out())
    assert all(row.passed and "too little" in row.skipped for row in found.values())
    assert found[SYSTEM].obeyed_by_base == 0


async def test_a_fixed_habit_obeys_no_opposites() -> None:
    def shouting(model: str | None, messages: Sequence[Message]) -> str:
        return obedient(model, messages).upper() if model else obedient(model, messages)

    found = await rows(shouting, held_out())
    assert not found[SYSTEM].passed
    assert not found[VALUES].passed


async def test_a_request_that_the_engine_rejects_is_left_out() -> None:
    def choosy(model: str | None, messages: Sequence[Message]) -> str:
        if "request" in str(messages):
            raise EngineRejected("too long")
        return obedient(model, messages)

    found = await rows(choosy, held_out())
    assert found[SYSTEM].obeyed_by_base == len(OPPOSITES)
    assert found[OWN_VALUES].skipped


async def test_an_engine_that_is_away_or_a_missing_candidate_is_an_error() -> None:
    host, regression = FakeHost(obedient), items(held_out())
    with pytest.raises(EngineRejected):
        await examine(host, CANDIDATE, regression)
    host.down = True
    with pytest.raises(EngineUnavailable):
        await examine(host, CANDIDATE, regression)


def test_items_keep_the_callers_system_message_and_the_users_values() -> None:
    asked = held_out(8, system="You write for a bank.")
    for item in items(asked):
        if "request" not in str(item.prompts):
            continue
        for prompt in item.prompts:
            assert prompt[0]["role"] == "system"
            assert prompt[0]["content"].startswith("You write for a bank.\n\n")
            assert "- Be " in prompt[0]["content"]
            assert [m["role"] for m in prompt] == ["system", "user"]
        assert item.prompts[0] != item.prompts[1]


def test_a_template_without_system_role_has_no_system_items() -> None:
    asked = [replace(one, system_role=False) for one in held_out()]
    made = items(asked)
    assert {item.kind for item in made} == {VALUES, OWN_VALUES}
    assert all(m["role"] == "user" for item in made for prompt in item.prompts for m in prompt)


def test_values_that_never_change_cannot_be_flipped_and_many_are_bounded() -> None:
    asked = held_out(400)
    assert sum(item.kind == OWN_VALUES for item in items(asked)) == MAX_OWN
    same = [replace(one, values=(FORMAL,)) for one in asked]
    assert {item.kind for item in items(same)} == {VALUES, SYSTEM}


_figures = st.tuples(st.floats(-2, 5), st.floats(-2, 5), st.booleans())


@given(st.lists(_figures, max_size=24), st.booleans())
def test_a_verdict_needs_evidence(figures: list[tuple[float, float, bool]], checked: bool) -> None:
    base, lifts = tuple(f[0] for f in figures), tuple(f[1] for f in figures)
    obeyed = tuple(f[2] for f in figures) if checked else None
    row = judge(Kept("values", 24, base, lifts, obeyed))
    if len(figures) < 4:
        assert row.skipped
    assert row.passed or not row.skipped
    if not row.passed:
        assert sum(lifts) < 0.5 * sum(base) or (obeyed is not None and sum(obeyed) < 0.75 * len(obeyed))
    assert judge(Kept("values", 24, base, base, (True,) * len(base) if checked else None)).passed
