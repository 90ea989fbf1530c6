"""Edits that are replaced, erased, somebody else's or older than a correction teach nothing."""

from lab.render import render
from preference import context_rows, preferences
from preference.feedback import feedback
from store import users
from tests.preference.helpers import ANN, BOB, submit
from tests.preference.learner.conftest import BULLETS, CLIENT, CLIENT_AGAIN, DEAR, FORMAL, NUMBERED, World
from tests.preference.oracle import WordEmbedder


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
        submit, ANN, completion_id=held.completion_id, edited_text="Another text.", body_sha256="1"
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
        lambda c: submit(
            c,
            ANN,
            completion_id=first.completion_id,
            edited_text=render(CLIENT.facts, {"format": "numbered", "tone": "formal"}),
            body_sha256="2",
        )
    )
    await world.learner.learn(ANN, second.id)
    assert {p.text for p in world.active()} == {NUMBERED, FORMAL}
    held = world.database.read_now(context_rows.by_embedder, ANN, WordEmbedder.name)
    assert [context.feedback_id for context in held] == [second.id] * 2


async def test_an_edit_that_is_erased_while_it_is_studied_teaches_nothing(world: World) -> None:
    held = await world.edit(CLIENT, {}, {"format": "bullets"}, learn=False)
    world.generator.before_answer = lambda: world.database.write_now(feedback.erase, ANN, held.id)
    assert await world.learner.learn(ANN, held.id) is None
    assert world.active() == []
