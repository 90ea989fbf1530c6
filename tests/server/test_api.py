"""Feedback, preferences, values, turns, adapters, erasure, models and health over HTTP."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from preference import feedback, preferences, users
from preference.owner import Owner
from preference.tables import jobs, metadata
from tests.server.conftest import Running, Start, ask, until
from tests.server.fake_engine import MODEL
from tests.server.test_chat import publish

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
EDIT = {"type": "edit", "edited_text": "Hello, dear world!"}


def chat(running: Running, text: str = "Write an email to Ann", user: str = "ann") -> str:
    answer = running.client().chat.completions.create(**ask(text), extra_headers={"X-User-Id": user})
    return str(answer.id)


def edit(running: Running, completion_id: str, headers: dict[str, str] | None = None, **changed: Any) -> Any:
    body = {**EDIT, "completion_id": completion_id, **changed}
    return running.http().post("/v1/feedback", json=body, headers={**AS_ANN, **(headers or {})})


def queued(running: Running) -> list[tuple[str, str]]:
    rows = running.services.database.read_now(lambda c: c.execute(select(jobs.c.kind, jobs.c.subject)).all())
    return [(row.kind, row.subject) for row in rows]


def test_an_edit_is_durable_with_its_job(running: Running) -> None:
    completion_id = chat(running)
    accepted = edit(running, completion_id)
    assert accepted.status_code == 202, accepted.text
    told = accepted.json()
    assert (told["object"], told["status"], told["completion_id"]) == ("feedback", "pending", completion_id)
    assert 0 < told["cost"] < 1
    assert queued(running) == [("learn", told["id"])]
    whole = {**told, "edited_text": "Hello, dear world!"}
    assert running.http().get(f"/v1/feedback/{told['id']}", headers=AS_ANN).json() == whole
    assert running.http().get(f"/v1/feedback/{told['id']}?user=ann").json() == whole


def test_the_user_may_be_in_the_body(running: Running) -> None:
    body = {**EDIT, "completion_id": chat(running), "user": "ann"}
    assert running.http().post("/v1/feedback", json=body).status_code == 202


def test_an_idempotency_key_counts_once(running: Running) -> None:
    completion_id = chat(running)
    first, again = (edit(running, completion_id, {"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.json() == again.json()
    assert len(queued(running)) == 1
    other = edit(running, completion_id, {"Idempotency-Key": "k1"}, edited_text="Something else")
    assert other.status_code == 422
    assert other.json()["error"]["param"] == "Idempotency-Key"


def test_somebody_elses_completion(running: Running) -> None:
    completion_id = chat(running)
    answer = edit(running, completion_id, {"X-User-Id": "bob"})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "completion_id"
    assert running.http().get(f"/v1/turns/{completion_id}?user=bob").status_code == 404
    told = edit(running, completion_id).json()
    assert running.http().get(f"/v1/feedback/{told['id']}?user=bob").status_code == 404
    assert edit(running, completion_id, choice=1).json()["error"]["param"] == "choice"


def test_enough_edits_queue_an_adapter_once(start: Start) -> None:
    running = start(adapter_min_edits=2)
    for number in range(3):
        edit(running, chat(running, f"Task {number}"))
    assert [kind for kind, _ in queued(running)] == ["learn", "learn", "train", "learn"]
    (version,) = running.http().get("/v1/users/ann/adapters").json()["data"]
    assert (version["version"], version["state"], version["active"]) == (1, "queued", False)


def test_values(running: Running) -> None:
    http, value = running.http(), {"preference": "Be brief", "subdimension": "length"}
    put = http.put("/v1/users/ann/values", json={"values": [value]})
    full = {"dimension": "style", "description": "", **value}
    assert put.json() == {"values": [full]} == http.get("/v1/users/ann/values").json()
    assert http.put("/v1/users/ann/values", json={"values": []}).json() == {"values": []}


def test_a_standing_value_may_have_a_strength_or_be_masked(running: Running) -> None:
    values = [{"preference": "Be brief", "strength": 0.3}, {"preference": "Be formal", "masked": True}]
    put = running.http().put("/v1/users/ann/values", json={"values": values})
    assert put.status_code == 200, put.text
    assert [one.get("strength") for one in running.http().get("/v1/users/ann/values").json()["values"]] == [0.3, None]
    running.http(headers={"X-User-Id": "ann"}).post("/v1/chat/completions", json=ask())
    prompt = str(running.engine.requests[-1]["messages"])
    assert "Be brief. This matters a little." in prompt
    assert "formal" not in prompt


def test_the_life_of_a_stated_preference(running: Running) -> None:
    http, path = running.http(), "/v1/users/ann/preferences"
    made = http.post(path, json={"text": "Use bullets"}).json()
    assert (made["object"], made["source"], made["status"], made["locked"]) == ("preference", "stated", "active", False)
    keyed = http.post(path, json={"text": "Be formal", "context": "Write a letter to the bank"}).json()
    assert [p["id"] for p in http.get(path).json()["data"]] == [made["id"], keyed["id"]]
    contexts = http.get(f"{path}/{keyed['id']}").json()["contexts"]
    assert [c["text"] for c in contexts] == ["Write a letter to the bank"]
    search = http.post(f"{path}/search", json={"context": "Write a letter to the bank now"}).json()["data"]
    assert [p["text"] for p in search] == ["Use bullets", "Be formal"]
    changed = http.patch(f"{path}/{made['id']}", json={"text": "Use numbers", "locked": True}).json()
    assert (changed["text"], changed["locked"]) == ("Use numbers", True)
    assert http.patch(f"{path}/{made['id']}", json={}).json()["error"]["param"] == "text"
    assert http.delete(f"{path}/{made['id']}").json() == {
        "id": made["id"],
        "object": "preference.deleted",
        "deleted": True,
    }
    assert http.get(f"{path}/{made['id']}").status_code == 404
    assert [p["text"] for p in http.post(f"{path}/search", json={"context": "x"}).json()["data"]] == []


def test_a_preference_of_somebody_else(running: Running) -> None:
    http = running.http()
    id = http.post("/v1/users/ann/preferences", json={"text": "Use bullets"}).json()["id"]
    http.post("/v1/users/bob/preferences", json={"text": "Be brief"})
    for call in (
        http.get(f"/v1/users/bob/preferences/{id}"),
        http.patch(f"/v1/users/bob/preferences/{id}", json={"text": "x"}),
        http.delete(f"/v1/users/bob/preferences/{id}"),
    ):
        assert call.status_code == 404
        assert call.json()["error"]["param"] == "id"
    assert http.get(f"/v1/users/ann/preferences/{id}").json()["text"] == "Use bullets"


def test_preferences_are_bounded(start: Start) -> None:
    http = start(max_preferences=1).http()
    assert http.post("/v1/users/ann/preferences", json={"text": "a"}).status_code == 201
    assert http.post("/v1/users/ann/preferences", json={"text": "b"}).status_code == 409


def test_a_turn_explains_its_answer(running: Running) -> None:
    told = edit(running, chat(running)).json()

    def learned(c: Any) -> str:
        made = preferences.create(c, ANN, "Be dear", "learned")
        vector = running.services.embedder.embed(["Write an email to Ann"])[0]
        preferences.add_context(
            c, ANN, made.id, feedback_id=told["id"], text="Write an email to Ann", embedder="words", vector=vector
        )
        feedback.resolve(c, ANN, told["id"], "learned", None, [made.id])
        return made.id

    id = running.services.database.write_now(learned)
    completion_id = chat(running)
    turn = running.http().get(f"/v1/turns/{completion_id}", headers=AS_ANN).json()
    assert (turn["id"], turn["object"], turn["personalized"]) == (completion_id, "turn", "retrieval")
    (applied,) = turn["preferences"]
    assert (applied["id"], applied["text"], applied["source"], applied["score"]) == (id, "Be dear", "learned", 1.0)
    (source,) = applied["edits"]
    assert (source["draft"], source["edited_text"]) == ("Hello world!", "Hello, dear world!")
    assert turn["prompt"] == running.engine.requests[-1]["messages"]
    assert turn["request"] == ask()["messages"]
    assert turn["answers"] == ["Hello world!"]
    running.http().delete(f"/v1/users/ann/preferences/{id}")
    again = running.http().get(f"/v1/turns/{completion_id}", headers=AS_ANN).json()
    assert again["preferences"][0]["status"] == "deleted"
    assert not again["preferences"][0]["edits"]


def test_activate_roll_back_and_delete(running: Running, tmp_path: Path) -> None:
    http, path = running.http(), "/v1/users/ann/adapters"
    publish(running, 1, "adapter", tmp_path)
    publish(running, 2, "adapter", tmp_path)
    for version in (2, 1):
        now = {"object": "adapter.active", "active": version, "pinned": False, "canary": 0}
        assert http.post(f"{path}/{version}/activate").json() == now
        assert [name.rpartition(".")[2] for name in running.engine.adapters] == [f"v{version}"]
        assert http.get(path).json()["active"] == version
    assert http.post(f"{path}/0/activate").json()["active"] == 0
    assert not running.engine.adapters
    assert http.post(f"{path}/3/activate").status_code == 404
    assert http.post(f"{path}/2/activate").status_code == 200
    assert http.delete(f"{path}/2").json()["deleted"]
    assert not running.engine.adapters
    assert [v["version"] for v in http.get(path).json()["data"]] == [1]
    assert http.post(f"{path}/2/activate").status_code == 409
    assert http.delete(f"{path}/2").status_code == 404


def test_a_failed_activation_changes_nothing(running: Running, tmp_path: Path) -> None:
    publish(running, 1, "adapter", tmp_path)
    publish(running, 2, "adapter", tmp_path)
    assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
    user = running.services.database.read_now(users.get, ANN)
    assert user is not None
    running.services.directories.remove(user.opaque_id, 2)
    assert running.http().post("/v1/users/ann/adapters/2/activate").status_code == 404
    assert running.http().get("/v1/users/ann/adapters").json()["active"] == 1


def test_training_is_queued_once(running: Running) -> None:
    chat(running)
    queued_version = running.http().post("/v1/users/ann/adapters")
    assert queued_version.status_code == 202
    assert queued_version.json()["state"] == "queued"
    assert queued(running) == [("train", "1")]
    assert running.http().post("/v1/users/ann/adapters").status_code == 409


def test_erasing_one_user_leaves_the_other(running: Running, tmp_path: Path) -> None:
    http = running.http()
    publish(running, 1, "adapter", tmp_path)
    http.post("/v1/users/ann/adapters/1/activate")
    for name in ("ann", "bob"):
        http.post(f"/v1/users/{name}/preferences", json={"text": f"{name} likes bullets", "context": "Write"})
        completion_id = chat(running, user=name)
        edit(running, completion_id, {"X-User-Id": name})
    user = running.services.database.read_now(users.get, ANN)
    assert user is not None
    assert http.delete("/v1/users/ann").json() == {"id": "ann", "object": "user.deleted", "deleted": True}
    held = running.services.database.read_now(
        lambda c: [dict(r) for table in metadata.sorted_tables for r in c.execute(select(table)).mappings()]
    )
    assert held
    assert "ann" not in [row.get("user_id") for row in held]
    assert not (running.services.directories.root / user.opaque_id).exists()
    assert not running.engine.adapters
    assert http.delete("/v1/users/ann").status_code == 404
    assert len(http.get("/v1/users/bob/preferences").json()["data"]) == 1
    chat(running)
    assert "likes bullets" not in str(running.engine.requests[-1])


def test_models(running: Running) -> None:
    assert [model.id for model in running.client().models.list()] == [MODEL]
    assert running.client().models.retrieve(MODEL).owned_by == "attune"
    assert running.http().get("/v1/models/gpt-4").json()["error"]["code"] == "model_not_found"


def test_health_ready_and_documentation(running: Running) -> None:
    assert running.http().get("/health").json() == {"status": "ok"}
    ready = running.http().get("/ready")
    parts = {"status": "ready", "engine": "ready", "store": "ready", "worker": "elsewhere", "reason": None}
    assert (ready.status_code, ready.json()) == (200, parts)
    paths = running.http().get("/openapi.json").json()["paths"]
    assert "/v1/chat/completions" in paths
    assert "/v1/users/{user}/preferences/{id}" in paths
    assert running.http().get("/docs").status_code == 200


def test_a_worker_in_the_process_takes_jobs(start: Start) -> None:
    from tests.server.fake_engine import Script

    running = start(worker_in_process=True)
    completion_id = chat(running)
    running.engine.enqueue(Script(tokens=["none"]))
    id = edit(running, completion_id).json()["id"]
    told = until(lambda: (t := running.http().get(f"/v1/feedback/{id}?user=ann").json())["status"] != "pending" and t)
    assert (told["status"], told["learned"]) == ("nothing_learned", [])
    assert told["reason"]


def test_whoever_works_removes_what_a_killed_trainer_left(start: Start, tmp_path: Path) -> None:
    staging = tmp_path / "data" / "adapters" / ".staging"
    left, under_way = staging / "u1.v1.left", staging / "u1.v2.now"
    for folder in (left, under_way):
        folder.mkdir(parents=True)
    os.utime(left, (time.time() - 100_000,) * 2)
    start()
    assert left.exists()
    start(worker_in_process=True)
    until(lambda: not left.exists())
    assert under_way.exists()


def test_a_base_model_without_safetensors_serves_but_takes_no_adapters(start: Start, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    running = start(model=str(model))
    publish(running, 1, "adapter", tmp_path)
    refused = running.http().post("/v1/users/ann/adapters/1/activate")
    assert refused.status_code == 400, refused.text
    assert "no safetensors files" in refused.json()["error"]["message"]
    assert chat(running)
    assert not running.engine.adapters


@pytest.mark.parametrize("id", ["mine-1", "x" * 129, "a b", ""])
def test_the_request_id_is_the_callers_when_it_is_plain(running: Running, id: str) -> None:
    told = running.http().get("/health", headers={"X-Request-Id": id}).headers["X-Request-Id"]
    assert (told == id) == (id == "mine-1")


def thumb(running: Running, completion_id: str, way: str = "up", **headers: str) -> Any:
    body = {"type": "thumbs", "completion_id": completion_id, "thumb": way}
    return running.http().post("/v1/feedback", json=body, headers={**AS_ANN, **headers})


def test_a_thumb_is_durable_and_queues_nothing(start: Start) -> None:
    running = start(adapter_min_edits=1)
    completion_id = chat(running)
    accepted = thumb(running, completion_id, "down")
    assert accepted.status_code == 202, accepted.text
    told = accepted.json()
    assert (told["object"], told["type"], told["thumb"], told["cost"]) == ("feedback", "thumbs", "down", None)
    assert (told["status"], told["learned"], told["choice"]) == ("nothing_learned", [], 0)
    assert "KTO" in told["reason"]
    assert queued(running) == []
    assert running.http().get(f"/v1/feedback/{told['id']}", headers=AS_ANN).json() == {**told, "edited_text": None}
    assert running.http().get(f"/v1/feedback/{told['id']}", headers={"X-User-Id": "bob"}).status_code == 404
    for body in ({"choice": 1}, {"completion_id": "chatcmpl-none"}):
        sent = {"type": "thumbs", "completion_id": completion_id, "thumb": "up", **body}
        refused = running.http().post("/v1/feedback", json=sent, headers=AS_ANN)
        assert refused.json()["error"]["param"] == next(iter(body))
        assert refused.status_code == (400 if "choice" in body else 404)


def test_thumbs_and_edits_replace_their_own_kind_alone(running: Running) -> None:
    completion_id = chat(running)
    ids = [
        sent.json()["id"]
        for sent in (
            thumb(running, completion_id),
            edit(running, completion_id),
            thumb(running, completion_id, "down"),
            edit(running, completion_id, edited_text="Hi"),
        )
    ]
    found = [running.http().get(f"/v1/feedback/{id}", headers=AS_ANN).json() for id in ids]
    assert [one["status"] for one in found] == ["replaced", "replaced", "nothing_learned", "pending"]
    assert running.http().delete(f"/v1/feedback/{ids[2]}", headers=AS_ANN).status_code == 200
    left = [running.http().get(f"/v1/feedback/{id}", headers=AS_ANN).status_code for id in ids]
    assert left == [404, 200, 404, 200]


def test_a_thumb_under_a_key_counts_once(running: Running) -> None:
    completion_id = chat(running)
    first, again = (thumb(running, completion_id, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, first.json()) == (202, again.json())
    for other in (thumb(running, completion_id, "down", **{"Idempotency-Key": "k"}),
                  edit(running, completion_id, {"Idempotency-Key": "k"})):  # fmt: skip
        assert (other.status_code, other.json()["error"]["param"]) == (422, "Idempotency-Key")
    assert len(running.services.database.read_now(feedback.page, ANN)) == 1
