"""Adapter versions over HTTP: activated, rolled back, deleted, queued once."""

import os
import time
from pathlib import Path

from store import users
from tests.server.conftest import Running, Start, until
from tests.server.dialects.test_chat import publish
from tests.server.sending import ANN, chat, queued


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
