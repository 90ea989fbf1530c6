"""From an accepted edit to stored preferences, with a generator that makes no mistakes of its own."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lab.inferring import PROMPTS
from lab.lexicon import KIND_BY_NAME
from lab.render import render
from lab.style import canonical_phrase
from lab.world import Request, random_request
from preference import feedback, preferences, turns, users
from preference.database import Database
from preference.feedback import Feedback
from preference.learning.learner import Learner
from preference.preferences import Preference
from preference.recall import Recall, RecallLimits
from tests.preference.helpers import ANN, BOB, turn
from tests.preference.oracle import OracleGenerator, OracleScorer, WordEmbedder

RNG = random.Random(4)
CLIENT = random_request(RNG, KIND_BY_NAME["client"])
CLIENT_AGAIN = Request(CLIENT.facts, CLIENT.text.replace("Notes", "The notes"))
REVIEW = random_request(RNG, KIND_BY_NAME["review"])
BULLETS, NUMBERED = canonical_phrase("format", "bullets"), canonical_phrase("format", "numbered")
FORMAL = canonical_phrase("tone", "formal")
DEAR = canonical_phrase("greeting", "dear")
LIMITS = RecallLimits(alike=0.6)


class World:
    """One user's turns and edits over a real database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.generator = OracleGenerator(CLIENT, CLIENT_AGAIN, REVIEW)
        self.scorer = OracleScorer(self.generator)
        self.learner = self.learner_with(scorer=self.scorer)
        self.recall = Recall(database, WordEmbedder(), LIMITS)
        self._turns = 0
        database.write_now(users.ensure, ANN)

    def learner_with(self, **more: Any) -> Learner:
        return Learner(self.database, self.generator, WordEmbedder(), prompts=PROMPTS, limits=LIMITS, **more)

    async def edit(
        self,
        request: Request,
        before: dict[str, str],
        after: dict[str, str],
        shown: list[Preference] | None = None,
        partial: bool = False,
        cut: bool = False,
        learn: bool = True,
        text: Callable[[str], str] = str,
    ) -> Feedback:
        self._turns += 1
        applied = [{"id": p.id, "text": p.text, "score": 0.9} for p in shown or []]
        said = replace(
            turn(f"c{self._turns}", float(self._turns), render(request.facts, before)),
            request=[{"role": "user", "content": request.text}],
            applied_preferences=applied,
            applied_values=[],
            partial=partial,
            cut=cut,
        )
        self.database.write_now(turns.record, ANN, said)
        accepted = self.database.write_now(
            feedback.accept,
            ANN,
            completion_id=said.completion_id,
            edited_text=text(render(request.facts, after)),
            body_sha256="0",
        )
        if learn:
            await self.learner.learn(ANN, accepted.id)
        return self.database.read_now(feedback.get, ANN, accepted.id)

    def active(self) -> list[Preference]:
        return self.database.read_now(preferences.active, ANN)

    async def recalled(self, request: Request) -> set[str]:
        user = self.database.read_now(users.get, ANN)
        assert user is not None
        return {r.text for r in await self.recall.recall(user, request.text, k=5)}


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


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
    assert len(world.database.read_now(preferences.contexts_of, ANN, shown[0].id)) == 2


async def test_an_edit_of_spaces_alone_accepts_the_words(world: World) -> None:
    held = await world.edit(CLIENT, {}, {}, text=lambda text: text.replace(" ", "  "))
    assert (held.status, held.reason) == ("nothing_learned", "the edit differs from the draft in spaces alone")


async def test_what_the_user_stated_for_every_request_stays_so_when_it_is_seen_to_hold(world: World) -> None:
    made = world.database.write_now(preferences.create, ANN, BULLETS, "stated")
    await world.edit(CLIENT, {"format": "bullets"}, {"format": "bullets"}, [made])
    await world.edit(CLIENT_AGAIN, {}, {"format": "bullets", "tone": "formal"})
    assert await world.recalled(REVIEW) == {BULLETS}
    assert await world.recalled(CLIENT_AGAIN) == {BULLETS, FORMAL}


async def test_an_older_edit_does_not_undo_a_correction(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (shown,) = world.active()
    before = {"format": "bullets"}
    says_more = await world.edit(CLIENT_AGAIN, before, {**before, "greeting": "dear"}, [shown], learn=False)
    speaks_against = await world.edit(CLIENT_AGAIN, before, {"tone": "formal"}, [shown], learn=False)
    world.database.write_now(preferences.change, ANN, shown.id, text=NUMBERED)
    await world.learner.learn(ANN, says_more.id)
    assert await world.recalled(CLIENT_AGAIN) == {NUMBERED, DEAR}
    await world.learner.learn(ANN, speaks_against.id)
    assert NUMBERED in {p.text for p in world.active()}
    later = await world.edit(CLIENT, {"format": "numbered"}, {"format": "bullets"}, world.active())
    assert BULLETS in {world.database.read_now(preferences.get, ANN, id).text for id in later.learned}, (
        "a newer one may"
    )


async def test_an_older_edit_does_not_bring_back_what_was_deleted(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets", "tone": "formal"})
    shown = {p.text: p for p in world.active()}
    style = {"format": "bullets", "tone": "formal"}
    waits = await world.edit(CLIENT_AGAIN, style, {**style, "greeting": "dear"}, list(shown.values()), learn=False)
    world.database.write_now(preferences.delete, ANN, shown[BULLETS].id)
    await world.learner.learn(ANN, waits.id)
    assert {p.text for p in world.active()} == {FORMAL, DEAR}


async def test_at_the_limit_an_edit_still_contradicts_and_says_why_it_adds_nothing(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    world.learner = world.learner_with(scorer=world.scorer, max_preferences=1)
    for request in (CLIENT_AGAIN, CLIENT):
        held = await world.edit(request, {"format": "bullets"}, {"format": "numbered"}, world.active())
        assert held.reason == "this user already has 1 preferences; delete some first"
        if not world.active():
            break
    assert BULLETS not in {p.text for p in world.active()}


async def test_a_contradiction_replaces_the_preference_in_like_contexts_only(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    await world.edit(REVIEW, {}, {"format": "bullets"})
    assert len(world.active()) == 1, "equal preferences are one, with two contexts"
    await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, world.active())
    assert await world.recalled(CLIENT_AGAIN) == {NUMBERED}
    assert await world.recalled(REVIEW) == {BULLETS}


async def test_what_was_seen_twice_outlives_a_slip_and_is_superseded_by_a_second_edit(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (old,) = world.active()
    await world.edit(CLIENT, {"format": "bullets"}, {"format": "bullets"}, [old])
    await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, [old])
    assert world.database.read_now(preferences.get, ANN, old.id).status == "active", "one edit may be a slip"
    await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, [old])
    now = world.database.read_now(preferences.get, ANN, old.id)
    assert (now.status, now.superseded_by) == ("superseded", world.active()[0].id)


async def test_a_taste_that_changed_ends_after_two_edits_however_long_it_held(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (old,) = world.active()
    for _ in range(12):
        await world.edit(CLIENT, {"format": "bullets"}, {"format": "bullets"}, [old])
    for _ in range(2):
        await world.edit(CLIENT, {"format": "bullets"}, {"format": "numbered"}, [old])
    assert await world.recalled(CLIENT) == {NUMBERED}
    assert world.database.read_now(preferences.get, ANN, old.id).status == "superseded"


async def test_what_held_beside_an_ended_preference_alone_ends_with_it(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets", "greeting": "dear"})
    old = world.active()
    for _ in range(2):
        await world.edit(CLIENT_AGAIN, {"format": "bullets", "greeting": "dear"}, {"format": "numbered"}, old)
    assert [p.text for p in world.active()] == [NUMBERED]


async def test_what_is_taken_away_and_not_replaced_ends_where_it_was_last_seen(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (old,) = world.active()
    await world.edit(CLIENT, {"format": "bullets"}, {}, [old])
    assert await world.recalled(CLIENT) == set()
    assert world.database.read_now(preferences.get, ANN, old.id).status == "superseded"


async def test_what_is_locked_goes_on_holding_where_another_preference_ended(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets", "greeting": "dear"})
    dear = next(p for p in world.active() if p.text == DEAR)
    bullets = next(p for p in world.active() if p.text == BULLETS)
    locked = world.database.write_now(preferences.change, ANN, dear.id, locked=True)
    for _ in range(2):
        drafted, edited = {"format": "bullets"}, {"format": "numbered"}
        await world.edit(CLIENT_AGAIN, drafted, edited, [bullets])
    assert world.database.read_now(preferences.get, ANN, bullets.id).status == "superseded"
    assert len(world.database.read_now(preferences.contexts_of, ANN, locked.id)) == 1


async def test_a_preference_learned_elsewhere_survives_contradictions_here(world: World) -> None:
    await world.edit(REVIEW, {}, {"format": "bullets"})
    old = world.active()[0]
    for _ in range(3):
        await world.edit(CLIENT, {"format": "bullets"}, {"format": "numbered"}, [old])
    assert await world.recalled(REVIEW) == {BULLETS}
    assert await world.recalled(CLIENT) == {NUMBERED}


async def test_what_the_last_draft_hides_is_inferred_beside_an_answer_without_preferences(world: World) -> None:
    """The model sees nothing where the draft had the wrong preferences, and everything beside its own plain answer."""
    await world.edit(REVIEW, {}, {"format": "bullets"})
    world.generator.first = "none"
    held = await world.edit(CLIENT, {"format": "bullets"}, {"format": "numbered", "tone": "formal"}, world.active())
    assert held.status == "learned"
    assert await world.recalled(CLIENT_AGAIN) == {NUMBERED, FORMAL}


async def test_two_preferences_that_do_harm_only_together_give_way_to_what_is_inferred(world: World) -> None:
    """Without either, the other one's effect is as wrong: only the whole set that is inferred comes nearer."""
    await world.edit(REVIEW, {}, {"format": "bullets"})
    (bullets,) = world.active()
    other = world.database.write_now(preferences.create, ANN, canonical_phrase("format", "numbered"), "learned")
    held = await world.edit(CLIENT, {"format": "bullets"}, {"format": "paragraph"}, [bullets, other])
    assert held.status == "learned"
    assert await world.recalled(CLIENT_AGAIN) == {canonical_phrase("format", "paragraph")}


async def test_an_edit_that_takes_away_speaks_against_what_was_there_and_for_what_is_left(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets", "greeting": "dear"})
    shown, draft = world.active(), {"format": "bullets", "greeting": "dear"}
    world.generator.said["infer"] = "none"
    assert (await world.edit(CLIENT_AGAIN, draft, {"format": "bullets"}, shown)).status == "learned"
    assert await world.recalled(CLIENT_AGAIN) == {BULLETS}


async def test_a_locked_preference_is_never_superseded(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    locked = world.database.write_now(preferences.change, ANN, world.active()[0].id, locked=True)
    await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, [locked])
    assert BULLETS in await world.recalled(CLIENT)


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


async def test_an_edit_speaks_against_what_kept_another_preference_from_showing(world: World) -> None:
    """Both were applied, the wrong one showed: nothing new is to be learned, and something to be unlearned."""
    await world.edit(CLIENT, {}, {"format": "bullets"})
    await world.edit(REVIEW, {}, {"format": "numbered"})
    both = world.active()
    held = await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "numbered"}, both)
    assert held.status == "learned"
    assert await world.recalled(CLIENT_AGAIN) == {NUMBERED}


async def test_what_an_edit_leaves_in_place_is_confirmed_though_nothing_explains_the_rest(world: World) -> None:
    await world.edit(CLIENT, {}, {"format": "bullets"})
    shown = world.active()
    world.generator.said["infer"] = "none"
    held = await world.edit(CLIENT_AGAIN, {"format": "bullets"}, {"format": "bullets", "tone": "formal"}, shown)
    assert held.status == "nothing_learned"
    assert [c.weight > 0 for c in world.database.read_now(preferences.contexts_of, ANN, shown[0].id)] == [True, True]


async def test_learning_twice_from_one_edit_changes_nothing(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets"})
    before = world.database.read_now(users.get, ANN)
    asked = len(world.generator.asked)
    await world.learner.learn(ANN, held.id)
    assert world.database.read_now(users.get, ANN) == before
    assert len(world.generator.asked) == asked


async def test_an_edit_that_is_replaced_while_it_is_studied_teaches_nothing(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets"}, learn=False)
    studying = world.learner.learn(ANN, held.id)
    world.generator.before_answer = lambda: world.database.write_now(
        feedback.accept, ANN, completion_id=held.completion_id, edited_text="Another text.", body_sha256="1"
    )
    await studying
    assert world.active() == []
    assert world.database.read_now(feedback.get, ANN, held.id).status == "replaced"


async def test_somebody_elses_feedback_teaches_nothing(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets"})
    world.database.write_now(users.ensure, BOB)
    await world.learner.learn(BOB, held.id)
    assert world.database.read_now(preferences.all_of, BOB) == []


async def test_an_edit_that_replaces_one_takes_back_what_that_one_taught(world: World) -> None:
    first = await world.edit(CLIENT, {}, {"format": "bullets", "tone": "formal"})
    assert {p.text for p in world.active()} == {BULLETS, FORMAL}
    second = world.database.write_now(
        lambda c: feedback.accept(
            c,
            ANN,
            completion_id=first.completion_id,
            edited_text=render(CLIENT.facts, {"format": "numbered", "tone": "formal"}),
            body_sha256="2",
        )
    )
    await world.learner.learn(ANN, second.id)
    assert {p.text for p in world.active()} == {NUMBERED, FORMAL}
    held = world.database.read_now(preferences.contexts, ANN, WordEmbedder.name)
    assert [context.feedback_id for context in held] == [second.id] * 2


async def test_an_edit_that_is_erased_while_it_is_studied_teaches_nothing(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets"}, learn=False)
    world.generator.before_answer = lambda: world.database.write_now(feedback.erase, ANN, held.id)
    assert await world.learner.learn(ANN, held.id) is None
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
    first, second = world.database.read_now(preferences.contexts_of, ANN, old.id)
    assert first.weight > 0 > second.weight
    (numbered,) = [p for p in world.active() if p.text == NUMBERED]
    assert [c.weight > 0 for c in world.database.read_now(preferences.contexts_of, ANN, numbered.id)] == [True]


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
