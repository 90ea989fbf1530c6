"""Edits that speak against what is known: slips, changed tastes, and what is locked."""

from collections.abc import Sequence

import numpy as np

from lab.inferring import PROMPTS
from lab.style import canonical_phrase
from preference import context_rows, preferences
from preference.learning.learner import Learner
from preference.ports import Vectors
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from tests.preference.helpers import ANN
from tests.preference.learner.conftest import BULLETS, CLIENT, CLIENT_AGAIN, DEAR, FORMAL, NUMBERED, REVIEW, World
from tests.preference.oracle import WordEmbedder


class OneKind(WordEmbedder):
    """All requests are of one kind, whatever they are about."""

    dimension = 257
    kinds = 1

    def embed(self, texts: Sequence[str]) -> Vectors:
        kind = np.full((len(texts), 1), np.sqrt(0.7), np.float32)
        about = np.sqrt(0.3) * WordEmbedder().embed(texts)
        return np.asarray(np.concatenate([kind, about], axis=1), np.float32)


async def test_what_is_recalled_nowhere_has_ended_also_by_edits_about_something_else(world: World) -> None:
    embedder, limits = OneKind(), RecallLimits(alike=0.9, spread=0.5)
    vectors = embedder.embed([CLIENT.text, REVIEW.text])
    assert float(vectors[0] @ vectors[1]) < limits.alike, "they are alike in kind alone"
    world.learner = Learner(
        world.database, world.generator, embedder, scorer=world.scorer, prompts=PROMPTS, limits=limits
    )
    world.recall = Recall(world.database, embedder, limits)
    await world.edit(CLIENT, {}, {"format": "bullets"})
    (old,) = world.active()
    for _ in range(2):
        await world.edit(REVIEW, {"format": "bullets"}, {"format": "numbered"}, [old])
    assert await world.recalled(CLIENT) == await world.recalled(REVIEW) == {NUMBERED}
    assert world.database.read_now(preferences.get, ANN, old.id).status == "superseded"


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
    assert len(world.database.read_now(context_rows.of, ANN, locked.id)) == 1


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
    assert [c.weight > 0 for c in world.database.read_now(context_rows.of, ANN, shown[0].id)] == [True, True]
