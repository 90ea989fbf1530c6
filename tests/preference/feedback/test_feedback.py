"""Rows of feedback: durable with its job, idempotent, replaced by newer edits, and read by its owner alone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from preference.feedback import edit_rows, feedback, given
from preference.feedback.feedback import Feedback
from store import job_list, jobs, turns, users
from store.database import Database
from store.errors import IdempotencyConflict, Invalid, NotFound
from store.owner import Owner
from store.rows import scope
from store.tables import jobs as jobs_table
from tests.preference.helpers import ANN, BOB, NOT_STORABLE, OTHER_ANN, submit, turn


def prepare(c: Connection, owner: Owner) -> None:
    users.ensure(c, owner)
    turns.record(c, owner, turn("c-1", 1.0, "Dear Sam, done.", "Sam: done"))
    turns.record(c, owner, turn("c-2", 2.0, "Hello"))
    turns.record(c, owner, turn("c-cut", 3.0, "Hel", partial=True))


@pytest.fixture
def store(database: Database) -> Database:
    for owner in (ANN, BOB, OTHER_ANN):
        database.write_now(prepare, owner)
    return database


def accept(
    store: Database,
    completion_id: str = "c-1",
    edited_text: str = "Hi Sam, done.",
    *,
    owner: Owner = ANN,
    choice: int = 0,
    idempotency_key: str | None = None,
    body: str = "body",
) -> Feedback:
    return store.write_now(
        submit,
        owner,
        completion_id=completion_id,
        edited_text=edited_text,
        choice=choice,
        idempotency_key=idempotency_key,
        body_sha256=body,
    )


def thumb(store: Database, up: bool = True, *, owner: Owner = ANN, body: str = "thumb", **more: Any) -> Feedback:
    sent = {"completion_id": "c-1", "thumb": "up" if up else "down", "body_sha256": body, **more}
    return store.write_now(lambda c: submit(c, owner, **sent))


def queued(c: Connection, owner: Owner) -> int:
    return c.execute(select(func.count()).where(scope(jobs_table, owner))).scalar_one()


def test_an_edit_is_stored_with_its_cost_and_its_job(store: Database) -> None:
    accepted = accept(store)
    assert accepted == store.read_now(feedback.get, ANN, accepted.id)
    assert (accepted.status, accepted.type, accepted.learned, accepted.reason) == ("pending", "edit", (), None)
    assert accepted.cost == pytest.approx(1 / 5)
    job = store.write_now(jobs.lease, ["learn"], 60)
    assert job is not None
    assert (job.owner, job.kind, job.subject, job.attempt) == (ANN, "learn", accepted.id, 1)


def test_neither_feedback_nor_job_without_the_other(store: Database) -> None:
    def broken(c: Connection) -> None:
        submit(c, ANN, completion_id="c-1", edited_text="x", body_sha256="b")
        raise LookupError

    with pytest.raises(LookupError):
        store.write_now(broken)
    assert store.read_now(feedback.page, ANN) == []
    assert store.read_now(queued, ANN) == 0


async def test_the_same_key_is_accepted_once_even_at_once(store: Database) -> None:
    async def once() -> Feedback:
        return await store.write(
            submit,
            ANN,
            completion_id="c-1",
            edited_text="Done",
            idempotency_key="k",
            body_sha256="b",
        )

    accepted = await asyncio.gather(*(once() for _ in range(12)))
    assert len(set(accepted)) == 1
    assert await store.read(queued, ANN) == 1


def test_the_same_key_with_another_body_conflicts(store: Database) -> None:
    first = accept(store, idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as caught:
        accept(store, edited_text="else", idempotency_key="k", body="another")
    assert caught.value.param == "Idempotency-Key"
    assert store.read_now(feedback.page, ANN) == [first]


def test_the_same_key_with_the_same_body_is_answered_as_the_first_time(store: Database) -> None:
    first = accept(store, idempotency_key="k")
    store.write_now(feedback.resolve, ANN, first.id, "learned", "it was clear", ["pref-1"])
    assert accept(store, idempotency_key="k") == first
    second = accept(store, edited_text="Newer", body="newer")  # replaces the first
    assert accept(store, idempotency_key="k") == first
    assert store.read_now(feedback.get, ANN, second.id).status == "pending"
    assert len(store.read_now(feedback.page, ANN)) == 2
    assert store.read_now(queued, ANN) == 2


def test_a_key_is_of_one_user_of_one_tenant(store: Database) -> None:
    first = accept(store, idempotency_key="k", body="of ann")
    others = [accept(store, owner=owner, idempotency_key="k", body=owner.user) for owner in (BOB, OTHER_ANN)]
    assert len({first.id, *(other.id for other in others)}) == 3
    assert accept(store, idempotency_key="k", body="of ann") == first
    for owner in (ANN, BOB, OTHER_ANN):
        assert len(store.read_now(feedback.page, owner)) == 1
        assert store.read_now(queued, owner) == 1


def test_of_many_edits_of_one_answer_at_once_exactly_one_stands(store: Database) -> None:
    texts = [f"Done {number}" for number in range(12)]
    with ThreadPoolExecutor(len(texts)) as pool:
        accepted = list(pool.map(lambda text: accept(store, edited_text=text, body=text), texts))
    assert len({one.id for one in accepted}) == len(texts)
    held = store.read_now(feedback.page, ANN)
    assert [one.status for one in held] == ["replaced"] * (len(texts) - 1) + ["pending"]
    assert [edit.feedback_id for edit in store.read_now(edit_rows.edits, ANN)] == [held[-1].id]


def test_different_bodies_under_one_key_at_once_have_one_winner(store: Database) -> None:
    def attempt(text: str) -> Feedback | IdempotencyConflict:
        try:
            return accept(store, edited_text=text, idempotency_key="k", body=text)
        except IdempotencyConflict as conflict:
            return conflict

    with ThreadPoolExecutor(12) as pool:
        came = list(pool.map(attempt, ["one", "two", "three"] * 4))
    accepted = [one for one in came if isinstance(one, Feedback)]
    assert len(accepted) == 4
    assert len(set(accepted)) == 1
    assert store.read_now(feedback.page, ANN) == [accepted[0]]
    assert store.read_now(queued, ANN) == 1


def test_a_newer_edit_replaces_the_earlier_one_of_the_same_answer(store: Database) -> None:
    first, other_choice = accept(store), accept(store, choice=1)
    other_completion, foreign = accept(store, "c-2"), accept(store, owner=OTHER_ANN)
    second = accept(store, edited_text="Sam, done.")
    assert store.read_now(feedback.get, ANN, first.id).status == "replaced"
    for kept, owner in [(other_choice, ANN), (other_completion, ANN), (second, ANN), (foreign, OTHER_ANN)]:
        assert store.read_now(feedback.get, owner, kept.id).status == "pending"
    resolved = store.write_now(feedback.resolve, ANN, first.id, "learned", learned=["pref-1"])
    assert (resolved.status, resolved.learned) == ("replaced", ())
    assert store.read_now(feedback.replaced_by, ANN, second.id) == [first.id]
    assert store.read_now(feedback.replaced_by, ANN, other_choice.id) == []


def test_a_result_is_kept(store: Database) -> None:
    accepted = accept(store)
    store.write_now(feedback.resolve, ANN, accepted.id, "nothing_learned", "too small")
    again = store.write_now(feedback.resolve, ANN, accepted.id, "failed", "the worker stopped 5 times")
    found = store.read_now(feedback.get, ANN, accepted.id)
    assert again == found
    assert (found.status, found.reason, found.learned) == ("nothing_learned", "too small", ())


def test_edits_are_those_that_stand(store: Database) -> None:
    accept(store)
    accept(store, "c-cut")
    second, last = accept(store, choice=1), accept(store, "c-2", "Hey")
    accept(store, owner=BOB)
    accept(store, owner=OTHER_ANN)
    newest = accept(store, edited_text="Sam, done.")
    edits = store.read_now(edit_rows.edits, ANN)
    assert [edit.feedback_id for edit in edits] == [second.id, last.id, newest.id]
    assert [edit.draft for edit in edits] == ["Sam: done", "Hello", "Dear Sam, done."]
    assert [edit.edited_text for edit in edits] == ["Hi Sam, done.", "Hey", "Sam, done."]
    assert [edit.created_at for edit in edits] == [second.created_at, last.created_at, newest.created_at]
    assert edits[1].turn == turn("c-2", 2.0, "Hello")
    assert [edit.feedback_id for edit in store.read_now(edit_rows.edits, ANN, limit=2)] == [last.id, newest.id]
    assert store.read_now(edit_rows.count_since, ANN, 0.0) == 3
    assert store.read_now(edit_rows.count_since, ANN, second.created_at) == 2
    assert store.read_now(edit_rows.count_since, ANN, newest.created_at) == 0


def test_an_edit_is_pending_until_resolved_or_replaced(store: Database) -> None:
    first = accept(store)
    pending = store.read_now(edit_rows.pending, ANN, first.id)
    assert pending is not None
    assert (pending.draft, pending.edited_text) == ("Dear Sam, done.", "Hi Sam, done.")
    for owner in (BOB, OTHER_ANN):
        assert store.read_now(edit_rows.pending, owner, first.id) is None
    second = accept(store)
    assert store.read_now(edit_rows.pending, ANN, first.id) is None
    store.write_now(feedback.resolve, ANN, second.id, "learned")
    assert store.read_now(edit_rows.pending, ANN, second.id) is None


def test_no_two_edits_are_of_the_same_time(store: Database) -> None:
    times = [accept(store, edited_text=str(i)).created_at for i in range(50)]
    assert times == sorted(set(times))


def test_pages_hold_all_of_it(store: Database) -> None:
    accepted = [accept(store, "c-2", str(i)).id for i in range(5)]
    found: list[Feedback] = []
    while page := store.read_now(feedback.page, ANN, after=found[-1].created_at if found else 0.0, limit=2):
        found += page
    assert [one.id for one in found] == accepted


@pytest.mark.parametrize("text", ["", " \n", *NOT_STORABLE, "x" * (given.MAX_EDIT + 1)])
def test_a_text_that_cannot_be_an_edit_is_named(store: Database, text: str) -> None:
    with pytest.raises(Invalid) as caught:
        accept(store, edited_text=text)
    assert caught.value.param == "edited_text"


@pytest.mark.parametrize("idempotency_key", ["", *NOT_STORABLE, "x" * 256])
def test_a_key_that_cannot_be_stored_is_named(store: Database, idempotency_key: str) -> None:
    with pytest.raises(Invalid) as caught:
        accept(store, idempotency_key=idempotency_key)
    assert caught.value.param == "Idempotency-Key"


@pytest.mark.parametrize("choice", [-1, 2])
def test_a_choice_that_was_not_given_is_named(store: Database, choice: int) -> None:
    with pytest.raises(Invalid) as caught:
        accept(store, choice=choice)
    assert caught.value.param == "choice"


def test_an_edit_of_somebody_elses_completion_is_not_found(store: Database) -> None:
    store.write_now(turns.record, OTHER_ANN, turn("c-theirs"))
    for owner, completion_id in [(ANN, "c-theirs"), (Owner("acme", "nobody"), "c-1"), (ANN, "a\x00")]:
        with pytest.raises(NotFound) as caught:
            accept(store, completion_id, owner=owner)
        assert caught.value.param == "completion_id"


def test_somebody_elses_feedback_is_not_found(store: Database) -> None:
    theirs = accept(store, owner=OTHER_ANN)
    for id in (theirs.id, *NOT_STORABLE):
        with pytest.raises(NotFound):
            store.read_now(feedback.get, ANN, id)
    with pytest.raises(NotFound):
        store.write_now(feedback.resolve, ANN, theirs.id, "failed")
    assert store.read_now(feedback.get, OTHER_ANN, theirs.id) == theirs


def test_an_erased_edit_takes_those_it_replaced_along_and_no_other(store: Database) -> None:
    first, second = accept(store, edited_text="Hi Sam."), accept(store, edited_text="Hello Sam.")
    other, beside = accept(store, "c-2"), accept(store, choice=1)
    theirs = accept(store, owner=BOB)
    newest = accept(store, edited_text="Hey Sam.")
    assert store.write_now(feedback.erase, ANN, second.id) == [first.id, second.id]
    assert {held.id for held in store.read_now(feedback.page, ANN)} == {other.id, beside.id, newest.id}
    assert store.read_now(lambda c: {work.subject for work in job_list.page(c, ANN)}) == {
        other.id,
        beside.id,
        newest.id,
    }
    assert store.read_now(feedback.get, BOB, theirs.id) == theirs
    with pytest.raises(NotFound):
        store.write_now(feedback.erase, ANN, second.id)
    with pytest.raises(NotFound):
        store.write_now(feedback.erase, ANN, theirs.id)


def test_a_thumb_is_stored_for_good_and_asks_for_no_learning(store: Database) -> None:
    given = thumb(store, up=False, choice=1)
    assert given == store.read_now(feedback.get, ANN, given.id)
    assert (given.type, given.thumb, given.edited_text, given.cost) == ("thumbs", "down", None, None)
    assert (given.status, given.learned) == ("nothing_learned", ())
    assert given.reason
    assert store.write_now(feedback.resolve, ANN, given.id, "learned", learned=["pref-1"]) == given
    assert store.read_now(queued, ANN) == 0
    assert store.read_now(edit_rows.pending, ANN, given.id) is None


def test_a_newer_thumb_replaces_a_thumb_and_neither_an_edit_nor_the_reverse(store: Database) -> None:
    edit, first, beside = accept(store), thumb(store), thumb(store, choice=1)
    second = thumb(store, up=False)
    newer = accept(store, edited_text="Sam, done.")
    status = {one.id: one.status for one in store.read_now(feedback.page, ANN)}
    assert status == {edit.id: "replaced", first.id: "replaced", beside.id: "nothing_learned",
                      second.id: "nothing_learned", newer.id: "pending"}  # fmt: skip
    assert store.read_now(feedback.replaced_by, ANN, newer.id) == [edit.id]
    assert store.read_now(feedback.replaced_by, ANN, second.id) == [first.id]


def test_a_thumb_under_a_key_is_accepted_once(store: Database) -> None:
    first = thumb(store, idempotency_key="k")
    thumb(store, up=False, body="other")
    assert thumb(store, idempotency_key="k") == first
    assert store.read_now(feedback.get, ANN, first.id).status == "replaced"
    for again in (thumb, accept):
        with pytest.raises(IdempotencyConflict):
            again(store, idempotency_key="k", body="another")
    assert len(store.read_now(feedback.page, ANN)) == 2


def test_thumbs_are_those_that_stand_and_no_edits(store: Database) -> None:
    edit = accept(store)
    thumb(store)
    thumb(store, completion_id="c-cut")
    thumb(store, owner=BOB)
    beside, newest = thumb(store, choice=1), thumb(store, up=False)
    thumbs = store.read_now(edit_rows.thumbs, ANN)
    assert [(one.feedback_id, one.answer, one.up) for one in thumbs] == [
        (beside.id, "Sam: done", True),
        (newest.id, "Dear Sam, done.", False),
    ]
    assert thumbs[0].turn == turn("c-1", 1.0, "Dear Sam, done.", "Sam: done")
    assert store.read_now(edit_rows.thumbs, ANN, limit=1) == thumbs[1:]
    assert store.read_now(edit_rows.thumb_page, ANN, limit=1) == thumbs[:1]
    assert store.read_now(edit_rows.thumb_page, ANN, after=beside.created_at) == thumbs[1:]
    assert [one.feedback_id for one in store.read_now(edit_rows.edits, ANN)] == [edit.id]
    assert [one.feedback_id for one in store.read_now(edit_rows.edit_page, ANN)] == [edit.id]
    assert store.read_now(edit_rows.count_since, ANN, 0.0) == 1


def test_an_erased_thumb_takes_those_it_replaced_along_and_no_edit(store: Database) -> None:
    edit, first, second = accept(store), thumb(store), thumb(store, up=False)
    accept(store, edited_text="Sam, done.")
    assert store.write_now(feedback.erase, ANN, second.id) == [first.id, second.id]
    assert [(one.type, one.id == edit.id) for one in store.read_now(feedback.page, ANN)] == [
        ("edit", True),
        ("edit", False),
    ]
    third = thumb(store)
    edits = [one.id for one in store.read_now(feedback.page, ANN) if one.type == "edit"]
    assert store.write_now(feedback.erase, ANN, edits[-1]) == edits
    assert store.read_now(feedback.page, ANN) == [third]


def test_its_cost_may_be_found_before_the_transaction(store: Database) -> None:
    drafts = [store.read_now(feedback.draft, ANN, id, choice) for id, choice in (("c-1", 1), ("c-1", 2), ("c-9", 0))]
    assert drafts == ["Sam: done", None, None]
    assert store.read_now(feedback.draft, BOB, "c-1", 0) == "Dear Sam, done."
    made = store.write_now(submit, ANN, completion_id="c-1", edited_text="Hi", body_sha256="x", cost=0.125)
    assert store.read_now(feedback.get, ANN, made.id).cost == 0.125
