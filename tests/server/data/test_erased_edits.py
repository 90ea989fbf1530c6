"""Erasing one edit: nothing of it is left in any byte, and what learned from it serves nobody."""

import dataclasses
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from adapters.lifecycle import versions
from preference import context_rows, preferences
from preference.feedback import feedback
from store import job_list, turns
from tests.preference.helpers import turn
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.erasing import Canaries
from tests.server.test_adapters import ANN, AS_ANN, PATH, ann, answered_by


def edit(running: Running, completion_id: str, text: str) -> str:
    body = {"type": "edit", "completion_id": completion_id, "edited_text": text}
    accepted = running.http(headers=AS_ANN).post("/v1/feedback", json=body)
    assert accepted.status_code == 202, accepted.text
    return str(accepted.json()["id"])


def teach(c: Connection, running: Running, feedback_id: str, text: str, context: str) -> str:
    """A preference as learning stores it."""
    made = preferences.create(c, ANN, text, "learned")
    vector = running.services.embedder.embed([context])[0]
    name = running.services.embedder.name
    context_rows.add(c, ANN, made.id, feedback_id=feedback_id, text=context, embedder=name, vector=vector)
    return made.id


def test_nothing_of_an_erased_edit_is_left(running: Running, tmp_path: Path) -> None:
    canary, data = Canaries(), running.services.settings.data_dir
    http = running.http(headers=AS_ANN)
    answers = [http.post("/v1/chat/completions", json=ask(f"Write {number}")).json()["id"] for number in range(2)]
    earlier = edit(running, answers[0], canary("earlier edit") * 200)
    erased = edit(running, answers[0], canary("edit") * 3000)
    stays = edit(running, answers[1], "This one stays.")
    taught: dict[str, str] = {}
    write = running.services.database.write_now
    write(lambda c: taught.update(gone=teach(c, running, erased, canary("preference"), canary("context"))))
    write(lambda c: taught.update(stays=teach(c, running, stays, "Sign with Bo", "Write 1")))
    shown = [{"id": taught["gone"], "text": canary("preference"), "score": 1.0}]

    def apply(c: Connection) -> None:
        prompt = [{"role": "user", "content": f"Write 2\n\n- {canary('preference')}\n- Sign with Bo"}]
        later = dataclasses.replace(turn("c-later"), applied_preferences=shown, prompt=prompt)
        turns.record(c, ANN, later)

    write(apply)
    publish(running, 1, "adapter", tmp_path)
    publish(running, 2, "adapter", tmp_path)
    for version, learned in ((1, [stays]), (2, [stays, erased])):
        write(versions.set_state, ANN, version, "ready", learned_from=learned)
        assert http.post(f"{PATH}/{version}/activate").status_code == 200
    stored = {place for place, _ in canary.found(data)}
    assert stored == {"edit", "earlier edit", "preference", "context"}
    done = http.delete(f"/v1/feedback/{erased}")
    assert (done.status_code, done.json()) == (
        200,
        {"id": erased, "object": "feedback.deleted", "deleted": True, "retired": [2], "training": None},
    )
    assert canary.found(data) == set()
    for id in (erased, earlier):
        assert http.get(f"/v1/feedback/{id}").status_code == 404
        assert http.delete(f"/v1/feedback/{id}").status_code == 404
    assert http.get(f"/v1/feedback/{stays}").status_code == 200
    explained = http.get("/v1/turns/c-later").json()
    assert explained["preferences"] == []
    assert explained["prompt"][0]["content"] == "Write 2\n\n- [erased]\n- Sign with Bo"
    assert [held["id"] for held in http.get("/v1/users/ann/preferences").json()["data"]] == [taught["stays"]]
    assert answered_by(running) == 1
    assert list(running.engine.adapters) == [f"{ann(running).opaque_id}.v1"]
    assert not running.services.directories.path(ann(running).opaque_id, 2).exists()


def test_somebody_elses_edit_is_not_there(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    id = edit(running, http.post("/v1/chat/completions", json=ask()).json()["id"], "Hi")
    assert running.http(headers={"X-User-Id": "bob"}).delete(f"/v1/feedback/{id}").status_code == 404
    assert http.get(f"/v1/feedback/{id}").status_code == 200


def test_an_edit_may_go_while_it_is_learned_from(start: Start) -> None:
    running = start(worker_in_process=True)
    http = running.http(headers=AS_ANN)
    for number in range(4):
        id = edit(running, http.post("/v1/chat/completions", json=ask(f"Write {number}")).json()["id"], "Dear Ann!")
        assert http.delete(f"/v1/feedback/{id}").status_code in (200, 202)

    def jobs_left() -> list[Any]:

        return running.services.database.read_now(job_list.page, ANN)

    until(lambda: not jobs_left())
    assert running.services.database.read_now(feedback.page, ANN) == []
    assert running.services.database.read_now(preferences.all_of, ANN) == []
