"""From an accepted edit to stored preferences: what it teaches, and why it teaches nothing."""

from typing import Any

import pytest

from preference import context_rows, preferences
from tests.preference.helpers import ANN
from tests.preference.learner.conftest import BULLETS, CLIENT, CLIENT_AGAIN, FORMAL, NUMBERED, REVIEW, World


async def test_an_edit_teaches_what_it_changed_and_the_next_like_request_recalls_it(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets", "tone": "formal"})
    assert held.status == "learned"
    assert {p.text for p in world.active()} == {BULLETS, FORMAL}
    assert set(held.learned) == {p.id for p in world.active()}
    assert await world.recalled(CLIENT_AGAIN) == {BULLETS, FORMAL}
    assert await world.recalled(REVIEW) == set()


async def test_an_accepted_draft_confirms_what_was_shown(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    shown = world.active()
    held = await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "bullets"}, shown)
    assert (held.status, held.reason) == ("nothing_learned", "the draft was accepted as it was")
    assert len(world.database.read_now(context_rows.of, ANN, shown[0].id)) == 2


async def test_an_edit_of_spaces_alone_accepts_the_words(world: World) -> None:
    held = await world.edit(CLIENT, {}, {}, text=lambda text: text.replace(" ", "  "))
    assert (held.status, held.reason) == ("nothing_learned", "the edit differs from the draft in spaces alone")


async def test_what_the_user_stated_for_every_request_stays_so_when_it_is_seen_to_hold(world: World) -> None:
    made = world.database.write_now(preferences.create, ANN, BULLETS, "stated")
    await world.edit(CLIENT, {"format": "bullets"}, {"format": "bullets"}, [made])
    await world.edit(CLIENT_AGAIN, {}, {"format": "bullets", "tone": "formal"})
    assert await world.recalled(REVIEW) == {BULLETS}
    assert await world.recalled(CLIENT_AGAIN) == {BULLETS, FORMAL}


async def test_at_the_limit_an_edit_still_contradicts_and_says_why_it_adds_nothing(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    world.learner = world.learner_with(scorer=world.scorer, max_preferences=1)
    for request in (CLIENT_AGAIN, CLIENT):
        held = await world.edit(request, {"format": "bullets"}, {"format": "numbered"}, world.active())
        assert held.reason == "this user already has 1 preferences; delete some first"
        if not world.active():
            break
    assert BULLETS not in {p.text for p in world.active()}


async def test_what_makes_the_edit_no_likelier_is_refused_with_the_reason(world: World) -> None:
    world.generator.said["infer"] = f"- {FORMAL}\n- Write in French."
    held = await world.edit(CLIENT, {}, {"format": "bullets"})
    assert held.status == "nothing_learned"
    assert held.reason == "nothing that the edit may show was borne out; the candidates say why"
    told = {candidate["text"]: candidate["verdict"] for candidate in held.candidates}
    assert told == {FORMAL: "refused", "Write in French.": "refused"}
    assert world.active() == []


async def test_a_wrong_candidate_among_right_ones_is_dropped(world: World) -> None:
    world.generator.said["infer"] = f"- {BULLETS}\n- {FORMAL}"
    await world.edit(CLIENT, {}, {"format": "bullets"})
    assert {p.text for p in world.active()} == {BULLETS}


@pytest.mark.parametrize("answer", ["none", "I cannot see any.\nReally not.", "- " + "x" * 500])
async def test_an_answer_without_preferences_is_a_result(world: World, answer: str) -> None:
    world.generator.said["infer"] = answer
    held = await world.edit(CLIENT, {}, {"format": "bullets"})
    assert (held.status, held.reason) == ("nothing_learned", "the edit shows no general preference")


@pytest.mark.parametrize("bound", [{"partial": True}, {"cut": True}])
async def test_an_answer_that_was_cut_short_and_is_completed_teaches_nothing(
    world: World, bound: dict[str, Any]
) -> None:
    held = await world.edit(CLIENT, {}, {}, text=lambda text: f"{text} And this is how it ends, at length.", **bound)
    assert (held.status, held.reason) == ("nothing_learned", "the draft was cut short, and the edit completes it")
    assert world.active() == []


async def test_what_an_edit_might_show_is_kept_with_what_became_of_it(world: World) -> None:
    world.generator.said["infer"] = f"- {BULLETS}\n- {FORMAL}"
    held = await world.edit(CLIENT, {}, {"format": "bullets"})
    told = {candidate["text"]: candidate for candidate in held.candidates}
    assert (told[BULLETS]["verdict"], told[FORMAL]["verdict"]) == ("learned", "refused")
    assert told[BULLETS]["lift"] > 1 > told[FORMAL]["lift"]


async def test_each_situation_says_how_much(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (old,) = world.active()
    await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, [old])
    first, second = world.database.read_now(context_rows.of, ANN, old.id)
    assert first.weight > 0 > second.weight
    (numbered,) = [p for p in world.active() if p.text == NUMBERED]
    assert [c.weight > 0 for c in world.database.read_now(context_rows.of, ANN, numbered.id)] == [True]


async def test_an_engine_that_scores_no_text_writes_and_learns_the_same(world: World) -> None:
    world.learner = world.learner_with()
    held = await world.edit(CLIENT, {}, {"format": "bullets", "tone": "formal"})
    assert held.status == "learned"
    assert {p.text for p in world.active()} == {BULLETS, FORMAL}
    assert world.generator.asked.count("write") > 1
    assert world.scorer.scored == 0


async def test_an_engine_that_scores_writes_nothing_but_proposals(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets", "tone": "formal"})
    assert world.generator.asked == ["infer"]
    assert world.scorer.scored > 0


async def test_what_a_lesson_cost_is_told_with_its_tenant(world: World) -> None:
    told: list[tuple[str, int, int]] = []
    world.learner = world.learner_with(scorer=world.scorer, on_tokens=lambda *cost: told.append(cost))
    await world.edit(CLIENT, {}, {"format": "bullets"})
    ((tenant, read, written),) = told
    assert tenant == ANN.tenant
    assert read > written > 0
