"""Adapter versions over HTTP while others use them: deleted ones and overlapping activations."""

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from server.composition import build
from server.routes.adapters import activate_adapter
from store import users
from store.errors import NotFound
from store.owner import Owner
from store.users import User
from tests.server.conftest import Running, Start, WordEmbedder, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.erasing import publish as publish_first
from tests.server.fake_engine import Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
PATH = "/v1/users/ann/adapters"


def ann(running: Running) -> User:
    found = running.services.database.read_now(users.get, ANN)
    assert found is not None
    return found


def answered_by(running: Running) -> int:
    answer = running.http(headers=AS_ANN).post("/v1/chat/completions", json=ask())
    return int(answer.json()["attune"]["adapter_version"])


def test_a_deleted_version_serves_nobody_though_the_row_named_another(running: Running, tmp_path: Path) -> None:
    """As after a worker apart published version 3: the row says so, and 2 serves here still."""
    for version in (1, 2, 3):
        publish(running, version, "adapter", tmp_path)
    assert running.http().post(f"{PATH}/2/activate").status_code == 200
    running.services.database.write_now(users.set_active_adapter, ANN, 3)
    assert running.http().delete(f"{PATH}/2").status_code == 200
    assert answered_by(running) != 2
    until(lambda: answered_by(running) == 3)
    assert list(running.engine.adapters) == [f"{ann(running).opaque_id}.v3"]


def test_a_deleted_version_goes_after_the_answers_that_named_it(running: Running, tmp_path: Path) -> None:
    for version in (1, 2):
        publish(running, version, "adapter", tmp_path)
    assert running.http().post(f"{PATH}/1/activate").status_code == 200
    opaque = ann(running).opaque_id
    folder = running.services.directories.path(opaque, 2)
    running.engine.enqueue(Script(tokens=["slow "] * 80, delay=0.05))
    replies: list[httpx.Response] = []

    def chat() -> None:
        body = ask(stream=True, attune={"adapter_version": 2})
        replies.append(running.http(headers=AS_ANN).post("/v1/chat/completions", json=body))

    def delete() -> None:
        replies.append(running.http().delete(f"{PATH}/2"))

    chatting, deleting = threading.Thread(target=chat), threading.Thread(target=delete)
    chatting.start()
    until(lambda: running.engine.requests)
    deleting.start()
    until(lambda: [v["version"] for v in running.http().get(PATH).json()["data"]] == [1])
    assert set(running.engine.adapters) == {f"{opaque}.v1", f"{opaque}.v2"}
    assert folder.exists(), "the engine may read it as long as somebody is answered"
    chatting.join(20)
    deleting.join(20)
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].text.count("slow") == 80
    assert set(running.engine.adapters) == {f"{opaque}.v1"}
    assert not folder.exists()
    assert answered_by(running) == 1


def test_an_adapter_that_is_lost_is_nobody_elses_loss(running: Running) -> None:
    """As when another server on the same engine swaps Ann's adapter."""
    for user in ("ann", "ben"):
        publish_first(running, owner=Owner("local", user))
    del running.engine.adapters[next(iter(running.engine.adapters))]
    told = {}
    for user in ("ann", "ben"):
        answer = running.http().post("/v1/chat/completions", json=ask(), headers={"X-User-Id": user})
        told[user] = answer.json()["attune"]["adapter_version"]
    assert told == {"ann": 0, "ben": 1}


@pytest.mark.parametrize("before", [0, 1])
async def test_overlapping_activations_that_fail_leave_what_was_before(
    start: Start, tmp_path: Path, before: int
) -> None:
    running = start()
    for version in (1, 2, 3):
        publish(running, version, "adapter", tmp_path)
    for version in (2, 3):
        running.services.directories.remove(ann(running).opaque_id, version)
    async with build(running.services.settings, embedder=WordEmbedder()) as services:
        await activate_adapter(before, services, ANN)
        async with services.registry.of(ANN)._slots.hold(ANN) as entry:  # a swap is under way
            overlapping = [asyncio.create_task(activate_adapter(version, services, ANN)) for version in (2, 3)]
            await asyncio.to_thread(until, lambda: entry.holders == 3)
        failed = await asyncio.gather(*overlapping, return_exceptions=True)
        assert [type(error) for error in failed] == [NotFound, NotFound]
        assert ann(running).active_adapter == before


async def test_the_base_model_waits_for_no_swap(start: Start, tmp_path: Path) -> None:
    running = start()
    publish(running, 1, "adapter", tmp_path)
    async with build(running.services.settings, embedder=WordEmbedder()) as services:
        await activate_adapter(1, services, ANN)
        async with services.registry.of(ANN)._slots.hold(ANN):
            back = asyncio.create_task(activate_adapter(0, services, ANN))
            await asyncio.to_thread(until, lambda: ann(running).active_adapter == 0)
            assert services.registry.of(ANN).acquire(ann(running)).version == 0
        await back
        assert not running.engine.adapters


def state(running: Running) -> tuple[int, bool, int]:
    told = running.http().get(PATH).json()
    return told["active"], told["pinned"], told["canary"]


def test_a_version_is_pinned_rolled_back_and_retired(running: Running, tmp_path: Path) -> None:
    http = running.http()
    for version in (1, 2, 3):
        publish(running, version, "adapter", tmp_path)
        assert http.post(f"{PATH}/{version}/activate").status_code == 200
    assert http.post(f"{PATH}/rollback").json() == {
        "object": "adapter.active", "active": 2, "pinned": False, "canary": 0,
    }  # fmt: skip
    assert answered_by(running) == 2
    assert http.post(f"{PATH}/2/pin").json()["pinned"]
    assert state(running) == (2, True, 0)
    for refused in ("1/activate", "0/activate", "rollback", "2/retire", "3/unpin", "9/activate"):
        reply = http.post(f"{PATH}/{refused}")
        assert reply.status_code == (404 if refused[0] == "9" else 409), refused
        assert reply.json()["error"]["param"] == "version"
    assert http.post(f"{PATH}/3/canary", json={}).status_code == 409
    assert http.post(f"{PATH}/2/unpin").json()["pinned"] is False
    retired = http.post(f"{PATH}/3/retire").json()
    assert (retired["state"], retired["report"]["retired"]) == ("retired", "retired by hand")
    assert not running.services.directories.path(ann(running).opaque_id, 3).exists()
    assert http.post(f"{PATH}/3/activate").status_code == 409
    assert http.get(f"{PATH}/3").json()["manifest"] is None
    assert http.get(f"{PATH}/2").json()["manifest"]["version"] == 2
    assert http.get(f"{PATH}/9").status_code == 404
    assert [held["state"] for held in http.get(PATH).json()["data"]] == ["ready", "ready", "retired"]


def test_a_share_of_conversations_tries_a_canary(running: Running, tmp_path: Path) -> None:
    http, asking = running.http(), running.http(headers=AS_ANN)
    for version in (1, 2):
        publish(running, version, "adapter", tmp_path)
    assert http.post(f"{PATH}/1/activate").status_code == 200
    assert http.post(f"{PATH}/2/canary", json={"share": 0.5}).json()["canary"] == 2
    assert set(running.engine.adapters) == {f"{ann(running).opaque_id}.v{version}" for version in (1, 2)}
    first, again = [], []
    for number in range(30):
        opening = {"role": "user", "content": f"request {number}"}
        answer = asking.post("/v1/chat/completions", json=ask(messages=[opening])).json()
        first.append(answer["attune"]["adapter_version"])
        asked = http.get(f"/v1/turns/{answer['id']}", headers=AS_ANN).json()
        assert asked["adapter_version"] == first[-1]
        messages = [opening, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "And then?"}]
        again.append(asking.post("/v1/chat/completions", json=ask(messages=messages)).json()["attune"])
    assert set(first) == {1, 2}
    assert [one["adapter_version"] for one in again] == first
    assert http.post(f"{PATH}/rollback").json()["active"] == 1
    assert list(running.engine.adapters) == [f"{ann(running).opaque_id}.v1"]
    for share in (0, 1.5, "x"):
        assert http.post(f"{PATH}/2/canary", json={"share": share}).status_code == 400


def test_a_canary_that_cannot_be_loaded_is_not_tried(running: Running, tmp_path: Path) -> None:
    http = running.http()
    for version in (1, 2):
        publish(running, version, "adapter", tmp_path)
    assert http.post(f"{PATH}/1/activate").status_code == 200
    running.services.directories.remove(ann(running).opaque_id, 2)
    assert http.post(f"{PATH}/2/canary", json={}).status_code == 404
    assert state(running) == (1, False, 0)
    assert answered_by(running) == 1


@pytest.mark.parametrize("better", [1, 2])
def test_edits_end_a_trial(start: Start, tmp_path: Path, better: int) -> None:
    running = start(worker_in_process=True, canary_edits=40)
    http, asking = running.http(), running.http(headers=AS_ANN)
    for version in (1, 2):
        publish(running, version, "adapter", tmp_path)
    for version in (2, 1):  # both have been active
        assert http.post(f"{PATH}/{version}/activate").status_code == 200
    assert http.post(f"{PATH}/2/canary", json={"share": 0.5}).status_code == 200
    for number in range(40):
        answer = asking.post("/v1/chat/completions", json=ask(f"request {number}")).json()
        draft = answer["choices"][0]["message"]["content"]
        liked = answer["attune"]["adapter_version"] == better
        edit = {"type": "edit", "completion_id": answer["id"], "edited_text": draft if liked else "all other words"}
        assert asking.post("/v1/feedback", json=edit).status_code == 202
    until(lambda: state(running)[2] == 0, 20)
    assert state(running)[0] == better
    verdict = {2: "promoted", 1: "rolled_back"}[better]
    assert http.get(f"{PATH}/2").json()["report"]["canary"]["verdict"] == verdict
    until(lambda: list(running.engine.adapters) == [f"{ann(running).opaque_id}.v{better}"])
    assert answered_by(running) == better
