"""Turns, erasure, models, health and request ids over HTTP, and the worker in the process."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from preference import context_rows, preferences
from preference.feedback import feedback
from store import users
from store.tables import metadata
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import MODEL
from tests.server.sending import ANN, AS_ANN, chat, edit


def test_a_turn_explains_its_answer(running: Running) -> None:
    told = edit(running, chat(running)).json()

    def learned(c: Any) -> str:
        made = preferences.create(c, ANN, "Be dear", "learned")
        vector = running.services.embedder.embed(["Write an email to Ann"])[0]
        context_rows.add(
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


@pytest.mark.parametrize("id", ["mine-1", "x" * 129, "a b", ""])
def test_the_request_id_is_the_callers_when_it_is_plain(running: Running, id: str) -> None:
    told = running.http().get("/health", headers={"X-Request-Id": id}).headers["X-Request-Id"]
    assert (told == id) == (id == "mine-1")
