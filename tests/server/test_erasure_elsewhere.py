"""Erasure where others serve, too: replicas, workers apart, and stores of adapters let go."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import update

from server.composition import build
from server.settings import BUNDLED_MODEL
from store.owner import Owner
from store.tables import erasures as tombstones
from tests.server.conftest import Start, WordEmbedder, ask, until
from tests.server.erasing import AS_ANN, edit_of, left_of, publish, rows
from tests.server.fake_engine import MODEL, FakeEngine, Script


def test_another_replica_lets_go_too(start: Start) -> None:
    here, there = start(), start()
    opaque = publish(here, "retrieval+adapter")
    preference = {"text": "Use bullets", "context": "Write an email to Ann"}
    assert here.http().post("/v1/users/ann/preferences", json=preference).status_code == 201
    for running in (here, there):
        assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
        told = running.http(headers=AS_ANN).post("/v1/chat/completions", json=ask()).json()["attune"]
        assert told["personalized"] == "retrieval+adapter"
    assert opaque in there.services.recall._cache
    assert there.services.registry.loaded == 1
    assert here.http().delete("/v1/users/ann").status_code == 200
    until(lambda: opaque not in there.services.recall._cache and not there.services.registry.loaded, 20)
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
        assert http.post("/v1/feedback", json=edit_of(completion_id)).status_code == 202
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
