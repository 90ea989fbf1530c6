"""Erasure: nothing of a user is left in any byte, whoever is killed and whatever is under way."""

import secrets
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from store import erasures, users
from store.database import Database
from tests.server.conftest import Running, Start, ask, until
from tests.server.erasing import ANN, AS_ANN, Canaries, edit_of, held, plant, publish, rows, user_of
from tests.server.fake_engine import Script


@pytest.fixture
def canary() -> Canaries:
    return Canaries()


def test_no_byte_of_an_erased_user_is_left(
    start: Start, canary: Canaries, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    running = start()
    data = running.services.settings.data_dir
    other = Canaries()
    plant(running, other)
    owner = plant(running, canary)
    places = {place for place, _ in canary.found(data)}
    assert places == set(canary.planted), "each of them is on the disk, so that the scan can find it"
    erased = running.http().delete(f"/v1/users/{owner.user}")
    assert (erased.status_code, erased.json()["deleted"]) == (200, True)
    assert not canary.found(data)
    corrected = {"preference"}  # what a correction wrote over is gone as well
    assert {place for place, _ in other.found(data)} == set(other.planted) - corrected
    assert len(running.engine.adapters) == 1
    assert len(running.services.recall._cache) <= 1
    written = "".join(capfd.readouterr()) + caplog.text
    assert [text for text in canary.planted.values() if text in written] == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_under_way_is_not_stored_and_ends_on_its_adapter(running: Running, stream: bool) -> None:
    opaque = publish(running)
    folder = running.services.directories.root / opaque
    running.engine.enqueue(Script(tokens=["slow "] * 80, delay=0.05 if stream else 4))
    replies: list[httpx.Response] = []

    def chat() -> None:
        replies.append(running.http().post("/v1/chat/completions", json=ask(stream=stream), headers=AS_ANN))

    def delete() -> None:
        replies.append(running.http().delete("/v1/users/ann"))

    chatting, deleting = threading.Thread(target=chat), threading.Thread(target=delete)
    chatting.start()
    until(lambda: running.engine.requests)
    deleting.start()
    until(lambda: running.services.database.read_now(users.get, ANN) is None)
    assert list(running.engine.adapters) == [f"{opaque}.v1"]
    assert folder.exists(), "the engine may read it as long as somebody is answered"
    chatting.join(20)
    deleting.join(20)
    answer, deleted = replies
    assert (answer.status_code, deleted.status_code) == (200, 200)
    assert answer.text.count("slow") == 80
    assert not running.engine.adapters
    assert not folder.exists()
    assert [name for name, held in rows(running).items() if held] == ["erasures"]


def test_files_stay_while_an_answer_outlasts_the_wait_for_it(start: Start) -> None:
    running = start(engine_read_timeout=1.5)
    opaque = publish(running)
    folder = running.services.directories.root / opaque
    running.engine.enqueue(Script(tokens=["slow "] * 100, delay=0.05))
    with running.http().stream("POST", "/v1/chat/completions", json=ask(stream=True), headers=AS_ANN) as answer:
        chunks = answer.iter_bytes()
        assert next(chunks)
        assert running.http().delete("/v1/users/ann").status_code == 202
        assert list(running.engine.adapters) == [f"{opaque}.v1"]
        assert folder.exists()
        assert b"".join(chunks).count(b"slow") >= 98
    until(lambda: not running.engine.adapters and not folder.exists(), 20)


def test_who_comes_back_starts_from_nothing(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    http.post("/v1/users/ann/preferences", json={"text": "Use bullets", "context": "Write an email to Ann"})
    publish(running)
    first = http.post("/v1/chat/completions", json=ask()).json()
    before = user_of(running)
    assert http.delete("/v1/users/ann").status_code == 200
    assert http.delete("/v1/users/ann").status_code == 404
    assert http.post("/v1/feedback", json=edit_of(first["id"])).status_code == 404
    again = http.post("/v1/chat/completions", json=ask()).json()
    assert (again["attune"]["preferences"], again["attune"]["adapter_version"]) == ([], 0)
    assert user_of(running).opaque_id != before.opaque_id
    assert [row["completion_id"] for row in rows(running)["turns"]] == [again["id"]]
    assert [row["opaque_id"] for row in rows(running)["erasures"]] == [before.opaque_id]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from adapters.artifacts.directories import Directories
from adapters.registry.registry import Registry
from adapters.training.job import Training
from store.database import Database
from store.owner import Owner
from preference.recall.recall import Recall
from preference.recall.index import RecallLimits
from server.engine.client import Engine
from server.data.erasure import Erasures
from tests.server.conftest import WordEmbedder

point, data, engine_url, user = sys.argv[1:]

def die(here):
    if here == point:
        os.kill(os.getpid(), signal.SIGKILL)

class DyingTraining(Training):
    async def stop(self, opaque_id):
        die("after the rows")

class DyingDirectories(Directories):
    def remove_all(self, opaque_id):
        die("before the files")
        if point == "amid the files":
            (self.path(opaque_id, 1) / "adapter_config.json").unlink()
        die("amid the files")
        super().remove_all(opaque_id)
        die("after the files")

async def main():
    directories = DyingDirectories(Path(data, "adapters"))
    database = Database(f"sqlite:///{data}/attune.db")
    engine = Engine(engine_url)
    async def none(*_): return None
    erasures = Erasures(
        database, recall=Recall(database, WordEmbedder(), RecallLimits()),
        training=DyingTraining(database, engine, directories, base_model="none"),
        registry=Registry(engine, directories, capacity=1, version_of=none), engine=engine, directories=directories,
    )
    await erasures.erase(Owner("local", user))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["after the rows", "before the files", "amid the files", "after the files"])
def test_a_killed_erasure_goes_on_at_the_next_start(start: Start, canary: Canaries, tmp_path: Path, point: str) -> None:
    first = start()
    owner = plant(first, canary)
    copy = tmp_path / "killed"
    shutil.copytree(first.services.settings.data_dir, copy)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, point, str(copy), first.engine.url, owner.user], check=False, timeout=120
    )
    assert killed.returncode == -9
    if point != "after the files":
        assert {place for place, _ in canary.found(copy)} >= {"weights", "training"}
    assert "message" in {place for place, _ in canary.found(copy)}, "the log of the database has it still"
    again = start(data_dir=copy)
    assert again.http().get(f"/v1/users/{owner.user}/values").status_code == 404
    until(lambda: not canary.found(copy) and not again.engine.adapters, 20)
    assert again.http().delete(f"/v1/users/{owner.user}").status_code == 404


def test_what_an_old_process_left_of_the_erased_goes_and_nobody_elses(start: Start) -> None:
    """A folder that is mounted again, an engine that went on: names of old tombstones, and names that are none."""
    running = start()
    gone, stays = secrets.token_hex(16), secrets.token_hex(16)
    running.services.database.write_now(erasures.record, gone)
    root = running.services.directories.root
    for opaque in (gone, stays):
        (root / opaque / "v1").mkdir(parents=True)
        running.services.directories.stage(opaque, 2)
        running.engine.adapters[f"{opaque}.v1"] = str(root / opaque / "v1")
    again = start()
    until(lambda: not (root / gone).exists() and len(again.engine.adapters) == 1, 20)
    assert list(again.engine.adapters) == [f"{stays}.v1"]
    until(lambda: again.services.directories.holders() == {stays}, 20)


def test_a_database_in_use_is_scrubbed_later(running: Running) -> None:
    """A reader of before keeps the log; the erasure says so, and finishes when it finds it free."""
    running.http().put("/v1/users/ann/values", json={"values": [{"preference": "canary of ann"}]})
    data = running.services.settings.data_dir
    reader = Database(f"sqlite:///{data}/attune.db")

    def meanwhile(c: Any) -> int:
        assert users.get(c, ANN)
        return running.http().delete("/v1/users/ann").status_code

    assert reader.read_now(meanwhile) == 202
    reader.close()
    assert b"canary of ann" in (data / "attune.db-wal").read_bytes()
    until(lambda: b"canary of ann" not in b"".join(held(running).values()), 30)
