"""Idempotency-Key over HTTP, on both stores: a repeated edit is answered as the first time and counts once."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, func, select

from preference.feedback import edit_rows, feedback
from store import idempotency, keys
from store.owner import Owner
from store.rows import scope
from store.tables import jobs, spent_keys
from tests.server.conftest import Running, Start, ask

ANN = Owner("local", "ann")


@pytest.fixture
def running(start: Start, database_url: str) -> Running:
    return start(database_url=database_url)


def chat(running: Running, user: str = "ann", key: str = "none") -> str:
    """The id of an answer to a user."""
    id: str = running.client(api_key=key).chat.completions.create(**ask(), extra_headers={"X-User-Id": user}).id
    return id


def send(
    running: Running, completion_id: str, text: str, *, idempotency: str | None = "k", user: str = "ann", **more: Any
) -> httpx.Response:
    headers = {"X-User-Id": user, **({} if idempotency is None else {"Idempotency-Key": idempotency})}
    if "key" in more:
        headers["Authorization"] = f"Bearer {more.pop('key')}"
    body = {"type": "edit", "completion_id": completion_id, "edited_text": text, **more}
    return running.http().post("/v1/feedback", json=body, headers=headers)


def counted(c: Connection, owner: Owner) -> tuple[int, int]:
    """Feedback rows and jobs of an owner."""
    queued = c.execute(select(func.count()).where(scope(jobs, owner))).scalar_one()
    return len(feedback.page(c, owner)), queued


def test_the_same_edit_again_is_answered_as_the_first_time(running: Running) -> None:
    answer = chat(running)
    first = send(running, answer, "Better")
    assert first.status_code == 202
    running.services.database.write_now(feedback.resolve, ANN, first.json()["id"], "learned", None, ["pref-1"])
    again = send(running, answer, "Better")
    assert (again.status_code, again.content) == (202, first.content)
    told = running.http().get(f"/v1/feedback/{first.json()['id']}", headers={"X-User-Id": "ann"}).json()
    assert (told["status"], told["learned"]) == ("learned", ["pref-1"])
    assert running.services.database.read_now(counted, ANN) == (1, 1)


@pytest.mark.parametrize("changed", ["edited_text", "choice", "completion_id"])
def test_another_body_under_the_same_key_is_refused(running: Running, changed: str) -> None:
    answer, other = chat(running), chat(running)
    first = send(running, answer, "Better")
    refused = {
        "edited_text": lambda: send(running, answer, "Other"),
        "choice": lambda: send(running, answer, "Better", choice=1),
        "completion_id": lambda: send(running, other, "Better"),
    }[changed]()
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "Idempotency-Key")
    assert error["code"] == "idempotency_conflict"
    assert send(running, answer, "Better").content == first.content
    assert running.services.database.read_now(counted, ANN) == (1, 1)


def test_the_same_edit_from_many_at_once_counts_once(running: Running) -> None:
    answer = chat(running)
    with ThreadPoolExecutor(16) as pool:
        came = list(pool.map(lambda _: send(running, answer, "Better"), range(16)))
    assert {one.status_code for one in came} == {202}
    assert len({one.content for one in came}) == 1
    assert running.services.database.read_now(counted, ANN) == (1, 1)


def test_different_edits_under_one_key_at_once_have_one_winner(running: Running) -> None:
    answer = chat(running)
    with ThreadPoolExecutor(12) as pool:
        came = list(pool.map(lambda text: send(running, answer, text), ["one", "two", "three"] * 4))
    assert sorted(one.status_code for one in came) == [202] * 4 + [422] * 8
    assert len({one.json()["id"] for one in came if one.status_code == 202}) == 1
    assert running.services.database.read_now(counted, ANN) == (1, 1)


def test_of_two_edits_of_one_answer_at_once_exactly_one_stands(running: Running) -> None:
    answer = chat(running)
    with ThreadPoolExecutor(8) as pool:
        came = list(pool.map(lambda n: send(running, answer, f"Better {n}", idempotency=None), range(8)))
    assert {one.status_code for one in came} == {202}
    held = running.services.database.read_now(feedback.page, ANN)
    assert [one.status for one in held] == ["replaced"] * 7 + ["pending"]
    assert len(running.services.database.read_now(edit_rows.edits, ANN)) == 1


def test_a_key_counts_for_one_user_of_one_tenant(running: Running) -> None:
    database = running.services.database
    api_keys = {tenant: database.write_now(keys.create, tenant, "test")[1] for tenant in ("one", "two")}
    time.sleep(1.1)
    owners = [Owner("one", "ann"), Owner("one", "bob"), Owner("two", "ann")]
    came = {}
    for owner in owners:
        key = api_keys[owner.tenant]
        answer = chat(running, owner.user, key)
        came[owner] = send(running, answer, f"Better for {owner.tenant}", user=owner.user, key=key)
        assert (
            send(running, answer, f"Better for {owner.tenant}", user=owner.user, key=key).content == came[owner].content
        )
    assert {one.status_code for one in came.values()} == {202}
    assert len({one.json()["id"] for one in came.values()}) == 3
    assert [database.read_now(counted, owner) for owner in owners] == [(1, 1)] * 3


def delete(running: Running, id: str) -> None:
    assert running.http().delete(f"/v1/feedback/{id}", headers={"X-User-Id": "ann"}).status_code in (200, 202)


def test_after_a_deletion_the_repeat_is_answered_as_then_and_stores_nothing(running: Running) -> None:
    """A client that saw no answer sends its edit again, perhaps after its user has deleted it elsewhere."""
    answer = chat(running)
    earlier = send(running, answer, "Good", idempotency="k0")
    first = send(running, answer, "Better")
    delete(running, first.json()["id"])
    for sent, text, key in ((first, "Better", "k"), (earlier, "Good", "k0")):
        again = send(running, answer, text, idempotency=key)
        assert (again.status_code, again.content) == (202, sent.content)
        assert running.http().get(f"/v1/feedback/{sent.json()['id']}?user=ann").status_code == 404
    assert running.services.database.read_now(counted, ANN)[0] == 0
    assert send(running, answer, "Other").status_code == 422
    assert send(running, answer, "Better", idempotency="k2").json()["id"] != first.json()["id"]


def test_what_is_left_of_a_deleted_edit_tells_nothing_of_its_text(running: Running) -> None:
    answer = chat(running)
    delete(running, send(running, answer, "Better, my dear").json()["id"])
    # Its key, and that under which a history would say the same.
    left = running.services.database.read_now(lambda c: c.execute(select(spent_keys)).mappings().all())
    assert len(left) == 2
    assert "Better" not in str(list(map(dict, left)))
    assert hashlib.sha256(b"k").hexdigest() in str(list(map(dict, left)))
    running.services.database.write_now(idempotency.prune, time.time() + 1)
    assert running.services.database.read_now(lambda c: c.execute(select(spent_keys)).all()) == []
