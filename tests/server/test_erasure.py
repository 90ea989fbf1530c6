"""Erasure: nothing of a user is left in any byte, whoever is killed, whoever else serves, whatever is under way."""

import asyncio
import secrets
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from adapters import versions
from adapters.manifest import Manifest
from preference import erasures, feedback, jobs, users
from preference.database import Database
from preference.owner import Owner
from preference.tables import erasures as tombstones
from preference.tables import metadata
from preference.users import User
from server.services import build
from server.settings import BUNDLED_MODEL
from tests.server.conftest import Running, Start, WordEmbedder, ask, until
from tests.server.fake_engine import MODEL, FakeEngine, Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def publish(running: Running, mode: str = "adapter", owner: Owner = ANN) -> str:
    """A first version, published as training does, and made the active one; the user's opaque id."""

    def made(c: Any) -> User:
        user = users.ensure(c, owner)
        assert versions.queue(c, owner) == 1
        versions.set_state(c, owner, 1, "ready", mode=mode, learned_through=1.0, report={"ok": True})
        return user

    user = running.services.database.write_now(made)
    stage = running.services.directories.stage(user.opaque_id, 1)
    (stage / "adapter_config.json").write_text("{}")
    running.services.directories.publish(stage, user.opaque_id, Manifest(1, [], "", {}, {}, {}, 0.0))
    path = f"/v1/users/{owner.user}/adapters/1/activate"
    assert running.http().post(path).status_code == 200
    return user.opaque_id


def left_of(opaque_id: str, store: Path) -> set[str]:
    """The folders of a store that name a user: after an erasure, the tombstones' alone."""
    return {path.relative_to(store).parts[0] for path in store.rglob(opaque_id)}


def rows(running: Running) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but the server's own secret."""

    def read(c: Any) -> dict[str, list[dict[str, Any]]]:
        tables = [table for table in metadata.sorted_tables if table.name != "shared_secrets"]
        return {t.name: [dict(row) for row in c.execute(select(t)).mappings()] for t in tables}

    return running.services.database.read_now(read)


def user_of(running: Running, owner: Owner = ANN) -> User:
    found = running.services.database.read_now(users.get, owner)
    assert found is not None
    return found


@dataclass
class Canaries:
    """Strings that are nowhere but where one user's data is."""

    planted: dict[str, str] = field(default_factory=dict)

    def __call__(self, place: str) -> str:
        return self.planted.setdefault(place, f"canary{secrets.token_hex(8)}")

    def found(self, folder: Path) -> set[tuple[str, str]]:
        """Where in the files of ``folder``, or in their names, which one is."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        content = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        return {
            (place, name)
            for place, canary in self.planted.items()
            for name, data in content.items()
            if canary.encode() in data or canary in name
        }


def plant(running: Running, canary: Canaries) -> Owner:
    """A user with something in every place that holds anything; the owner."""
    owner = Owner("local", canary("user"))
    http = running.http(headers={"X-User-Id": owner.user})
    path = f"/v1/users/{owner.user}"
    value = {"preference": canary("value"), "description": canary("description") * 20}
    assert http.put(f"{path}/values", json={"values": [value]}).status_code == 200
    stated = {"text": canary("preference"), "context": f"{canary('context')} email"}
    id = http.post(f"{path}/preferences", json=stated).json()["id"]
    assert http.patch(f"{path}/preferences/{id}", json={"text": canary("correction")}).status_code == 200
    for number in range(4):
        running.engine.enqueue(Script(tokens=[canary("answer"), " ", canary("answer") * (10 ** (number % 4))]))
        messages = [
            {"role": "system", "content": canary("system message")},
            {"role": "user", "content": f"{canary('message')} {'word ' * 10**number} email"},
        ]
        asked, client = ask(messages=messages, user=owner.user), running.client()
        if number % 2:
            completion_id = [chunk.id for chunk in client.chat.completions.create(**asked, stream=True)][-1]
        else:
            completion_id = client.chat.completions.create(**asked).id
        thumb = {"type": "thumbs", "completion_id": completion_id, "thumb": "up"}
        given = http.post(
            "/v1/feedback", json=thumb, headers={"Idempotency-Key": canary("key of a thumb") + str(number)}
        )
        assert given.status_code == 202, given.text
        sent = {"type": "edit", "completion_id": completion_id, "edited_text": canary("edit") * (1 + 50 * number)}
        accepted = http.post("/v1/feedback", json=sent, headers={"Idempotency-Key": canary("key") + str(number)})
        assert accepted.status_code == 202, accepted.text

    def behind(c: Any) -> None:
        last = feedback.page(c, owner)[-1]
        feedback.resolve(c, owner, last.id, "nothing_learned", canary("reason"))
        while (job := jobs.lease(c, ["learn"], 60)) is not None:
            jobs.fail(c, job, canary("error") if job.owner == owner else "none", None)

    running.services.database.write_now(behind)
    opaque, directories = publish(running, owner=owner), running.services.directories
    (directories.path(opaque, 1) / "adapter_model.safetensors").write_text(canary("weights"))
    (directories.stage(opaque, 2) / "train.jsonl").write_text(canary("training"))
    return owner


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
    assert len(running.services.recall._known) <= 1
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
    assert http.post("/v1/feedback", json=_edit(first["id"])).status_code == 404
    again = http.post("/v1/chat/completions", json=ask()).json()
    assert (again["attune"]["preferences"], again["attune"]["adapter_version"]) == ([], 0)
    assert user_of(running).opaque_id != before.opaque_id
    assert [row["completion_id"] for row in rows(running)["turns"]] == [again["id"]]
    assert [row["opaque_id"] for row in rows(running)["erasures"]] == [before.opaque_id]


def _edit(completion_id: str) -> dict[str, Any]:
    return {"type": "edit", "completion_id": completion_id, "edited_text": "Hello, dear world!"}


def test_another_replica_lets_go_too(start: Start) -> None:
    here, there = start(), start()
    opaque = publish(here, "retrieval+adapter")
    preference = {"text": "Use bullets", "context": "Write an email to Ann"}
    assert here.http().post("/v1/users/ann/preferences", json=preference).status_code == 201
    for running in (here, there):
        assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
        told = running.http(headers=AS_ANN).post("/v1/chat/completions", json=ask()).json()["attune"]
        assert told["personalized"] == "retrieval+adapter"
    assert opaque in there.services.recall._known
    assert there.services.registry.loaded == 1
    assert here.http().delete("/v1/users/ann").status_code == 200
    until(lambda: opaque not in there.services.recall._known and not there.services.registry.loaded, 20)
    assert not there.engine.adapters


def test_a_store_brings_adapters_to_other_disks_and_erasure_takes_them_from_all(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shared = {"adapter_store": f"file://{store}", "database_url": f"sqlite:///{tmp_path / 'data' / 'attune.db'}"}
    with FakeEngine() as engine:
        here = start(**shared)
        there = start(**shared, engine_url=engine.url, data_dir=tmp_path / "there")
        opaque = publish(here)
        asked = there.http(headers=AS_ANN)
        until(lambda: asked.post("/v1/chat/completions", json=ask()).json()["attune"]["adapter_version"] == 1)
        assert engine.adapters == {f"{opaque}.v1": str(tmp_path / "there" / "adapters" / opaque / "v1")}
        assert here.http().delete("/v1/users/ann").json()["deleted"]
        assert left_of(opaque, store) == {".erased"}
        until(lambda: not engine.adapters and not there.services.directories.holders(), 20)
        assert not here.engine.adapters
        assert not here.services.directories.holders()


def test_what_is_left_in_a_store_that_was_away_goes_later(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    running = start(adapter_store=f"file://{store}")
    opaque = publish(running)
    store.rename(tmp_path / "away")
    store.write_text("no folder")
    assert running.http().delete("/v1/users/ann").status_code == 202
    store.unlink()
    (tmp_path / "away").rename(store)
    until(lambda: left_of(opaque, store) == {".erased"}, 20)


async def test_a_training_in_a_worker_apart_ends(start: Start) -> None:
    server = start(model=str(BUNDLED_MODEL), served_model_name=MODEL)
    http = server.http(headers=AS_ANN)
    for _ in range(8):
        completion_id = http.post("/v1/chat/completions", json=ask()).json()["id"]
        assert http.post("/v1/feedback", json=_edit(completion_id)).status_code == 202
    assert http.post("/v1/users/ann/adapters").status_code == 202
    under_way, ended = asyncio.Event(), asyncio.Event()

    async def trainer(directory: Path, seconds: float) -> None:
        assert "dear world" in (directory / "train.jsonl").read_text()
        under_way.set()
        try:
            await asyncio.sleep(3600)
        finally:
            (directory / "late").mkdir(parents=True, exist_ok=True)  # as a trainer writes that was not told
            ended.set()

    apart = build(server.services.settings, work=True, serve=False, embedder=WordEmbedder(), run_trainer=trainer)
    async with apart as worker, asyncio.timeout(30):
        await under_way.wait()
        assert (await asyncio.to_thread(http.delete, "/v1/users/ann")).status_code == 200
        await ended.wait()
        await asyncio.to_thread(until, lambda: not worker.directories.holders())


async def test_a_worker_apart_pulls_nothing_from_under_an_answer(start: Start) -> None:
    server = start()
    opaque = publish(server)
    folder = server.services.directories.root / opaque
    server.engine.enqueue(Script(hang=True))
    apart = build(server.services.settings, serve=False, embedder=WordEmbedder())
    async with apart as worker, asyncio.timeout(30):
        with server.http().stream("POST", "/v1/chat/completions", json=ask(stream=True), headers=AS_ANN) as answer:
            chunks = answer.iter_bytes()  # who lets go of it hangs up
            assert next(chunks)
            deleting = asyncio.create_task(asyncio.to_thread(server.http().delete, "/v1/users/ann"))
            looked = worker.erasures
            await asyncio.to_thread(until, lambda: opaque in looked._seen and not looked._under_way)
            assert list(server.engine.adapters) == [f"{opaque}.v1"]
            assert folder.exists()
        assert (await deleting).status_code == 200
    assert not server.engine.adapters
    assert not folder.exists()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_another_server_answers_on_what_is_erased_here(start: Start, database_url: str) -> None:
    """Neither knows what the other one is answering: adapter and files stay for as long as an answer may take."""
    here, there = start(database_url=database_url), start(database_url=database_url)
    opaque = publish(there)
    folder = there.services.directories.root / opaque
    there.engine.enqueue(Script(hang=True))
    with there.http().stream("POST", "/v1/chat/completions", json=ask(stream=True), headers=AS_ANN) as answer:
        chunks = answer.iter_bytes()  # who lets go of it hangs up
        assert next(chunks)
        assert here.http().delete("/v1/users/ann").status_code == 202
        assert [name for name, held in rows(here).items() if held] == ["erasures"]
        assert list(here.engine.adapters) == [f"{opaque}.v1"]
        assert folder.exists()
    aged = update(tombstones).values(erased_at=tombstones.c.erased_at - 400)
    here.services.database.write_now(lambda c: c.execute(aged))
    until(lambda: not here.engine.adapters and not folder.exists(), 20)
    until(lambda: not there.services.registry.loaded, 20)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_where_no_adapter_is_nothing_is_waited_for(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    running.http().put("/v1/users/ann/values", json={"values": [{"preference": "Be brief"}]})
    publish(running, owner=Owner("local", "ben"))
    assert running.http().delete("/v1/users/ann").status_code == 200
    assert len(running.engine.adapters) == 1


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from adapters.directories import Directories
from adapters.registry import Registry
from adapters.training import Training
from preference.database import Database
from preference.owner import Owner
from preference.recall import Recall, RecallLimits
from server.engine import Engine
from server.erasure import Erasures
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


@pytest.fixture
def known(running: Running) -> Running:
    """A server that knows Ann: values, a preference, an adapter, and a turn."""
    http = running.http(headers=AS_ANN)
    http.put("/v1/users/ann/values", json={"values": [{"preference": "Be brief"}]})
    http.post("/v1/users/ann/preferences", json={"text": "Use bullets", "context": "Write an email to Ann"})
    publish(running, "retrieval+adapter")
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200
    return running


def held(running: Running) -> dict[str, bytes]:
    """Every file, without SQLite's shared memory, in which readers leave marks."""
    data = running.services.settings.data_dir
    files = [path for path in data.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    return {str(path.relative_to(data)): path.read_bytes() for path in files}


CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Write an email to Ann"}]},
    "/v1/completions": {"prompt": "Write an email to Ann"},
    "/v1/responses": {"input": "Write an email to Ann"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Write an email to Ann"}], "max_tokens": 50},
}


@pytest.mark.parametrize(
    ("headers", "attune"),
    [
        (AS_ANN, {"personalize": "off"}),
        (AS_ANN, {"store": False}),
        ({"X-User-Id": "somebody new"}, {"personalize": "off"}),
        ({"X-User-Id": "somebody new"}, {"store": False}),
        ({}, {}),
    ],
    ids=["off", "not stored", "new and off", "new and not stored", "nobody"],
)
def test_nothing_is_written(known: Running, headers: dict[str, str], attune: dict[str, Any]) -> None:
    before, files = rows(known), held(known)
    http = known.http()
    for path, asked in CALLS.items():
        for stream in (False, True):
            body = {**asked, "model": ask()["model"], "stream": stream, "attune": attune}
            answer = http.post(path, json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert "Hello" in answer.text
            assert rows(known) == before, path
            assert held(known) == files, path
    for path, asked in CALLS.items():
        body = {**asked, "model": ask()["model"]}
        assert http.post(path, json=body, headers=AS_ANN).status_code == 200
    assert len(rows(known)["turns"]) == len(before["turns"]) + len(CALLS), "the comparison can tell"


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
