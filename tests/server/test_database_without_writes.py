"""What a server does while its database takes no writes: locked by another process, or its disk is full."""

import logging
import resource
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from tests.server.conftest import Running, Start, ask, until

PATIENCE = 3.0
LOG = "store.write_health"


@contextmanager
def locked(running: Running) -> Iterator[None]:
    """Another process writes, and does not end."""
    file = running.services.settings.data_dir / "attune.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def full() -> Iterator[None]:
    """No file of this process grows beyond 256 KiB: to SQLite that is a disk without space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def chat(running: Running, user: str = "ann", text: str = "Hi") -> int:
    answer = running.http().post("/v1/chat/completions", json=ask(text), headers={"X-User-Id": user})
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "store_unavailable"
        assert answer.headers["Retry-After"]
    return answer.status_code


def ready(running: Running) -> tuple[int, str]:
    answer = running.http().get("/ready")
    return answer.status_code, answer.json()["store"]


def asked(running: Running) -> int:
    return len(running.engine.requests)


def test_a_lock_is_waited_for_once_and_known_from_then_on(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    running = start(store_timeout=PATIENCE)
    assert chat(running) == 200
    with locked(running), ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        users = ["ann", "bob", "ann", "cy"]
        assert list(pool.map(lambda user: chat(running, user), users)) == [503] * 4
        assert time.monotonic() - began < 3 * PATIENCE, "one waited for after the other"
        assert ready(running) == (503, "no_writes")
        before = asked(running)
        assert chat(running) == 503
        assert asked(running) == before, "an answer that cannot be stored was generated"
        nobody = running.http().post("/v1/chat/completions", json=ask())
        assert nobody.status_code == 200, "nothing of it is stored"
    assert until(lambda: chat(running) == 200)
    assert until(lambda: ready(running) == (200, "ready")), "what /ready found holds for a second"
    said = [record.message for record in caplog.records if record.name == LOG]
    assert [line.partition(",")[0] for line in said] == [
        "the database takes no writes",
        "the database takes writes again",
    ]


def test_a_full_disk_is_known_before_the_engine_is_asked(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, LOG)
    running = start()
    assert chat(running) == 200
    with full():
        until(lambda: chat(running, text="x" * 20_000) == 503)
        until(lambda: chat(running) == 503 and ready(running) == (503, "no_writes"))  # a little fitted still
        before = asked(running)
        assert {chat(running) for _ in range(5)} == {503}
        assert asked(running) == before
        assert ready(running) == (503, "no_writes")
        assert chat(running, "dora") == 503
    said = [record.levelname for record in caplog.records if record.name == LOG]
    assert said.count("ERROR") == 1, "more than a line a minute"
    assert until(lambda: chat(running) == 200)
    assert until(lambda: ready(running) == (200, "ready")), "what /ready found holds for a second"


def test_ready_finds_out_by_itself(start: Start) -> None:
    running = start(store_timeout=PATIENCE)
    assert until(lambda: ready(running) == (200, "ready")), "what /ready found holds for a second"
    with locked(running):
        until(lambda: ready(running) == (503, "no_writes"))
        assert chat(running) == 503
        assert running.engine.requests == []
    until(lambda: ready(running) == (200, "ready"))
