"""A server that is told to stop, in a process of its own: answers end, feedback stays, and it does stop."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy

from store import turns
from store.database import Database
from tests.server.conftest import ask, until
from tests.server.fake_engine import FakeEngine, Script
from tests.server.raw import ANN, AS_ANN, CHAT, connect, head

SERVE = """
from functools import partial
from server.app import serve
from server.composition import build
from server.settings import Settings
from tests.server.conftest import WordEmbedder
assert serve(Settings(), build=partial(build, embedder=WordEmbedder())) is None
"""
"""As `attune serve`, but without the seconds that the real embedder takes to load."""


STOPPED_WHILE_STARTING = """
import gc, os, signal
def stop(phase, info):  # the last thing before it listens is to look through all of its memory
    if phase == "start" and info["generation"] == 2 and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        gc.callbacks.remove(stop)
        os.kill(os.getpid(), signal.SIGTERM)
        print("told", flush=True)
gc.callbacks.append(stop)
"""


@dataclass
class Process:
    """A server in a process of its own, which signals reach."""

    popen: "subprocess.Popen[bytes]"
    url: str
    data: Path
    log: Path

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        self.popen.send_signal(sign)

    def stored(self) -> list[turns.Turn]:
        database = Database(f"sqlite:///{self.data / 'attune.db'}")
        try:
            return database.read_now(turns.page, ANN)
        finally:
            database.close()


@pytest.fixture
def process(tmp_path: Path, sqlite_template: Path, engine: FakeEngine) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:

        def start(**settings: float | str) -> Process:
            data = tmp_path / "data"
            data.mkdir()
            (data / "attune.db").write_bytes(sqlite_template.read_bytes())
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            inherited = {key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")}
            given = {"ENGINE_URL": engine.url, "DATA_DIR": data, "PORT": port, "DRAIN_GRACE_SECONDS": 0, **settings}
            environment = inherited | {f"ATTUNE_{key.upper()}": str(value) for key, value in given.items()}
            log = tmp_path / "server.log"
            command = [sys.executable, "-c", SERVE]
            with log.open("wb") as file:
                popen = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
            stack.callback(popen.wait)
            stack.callback(popen.kill)
            started = Process(popen, f"http://127.0.0.1:{port}", data, log)
            until(lambda: popen.poll() is not None or _ready(started.url) == 200, 120)
            assert popen.poll() is None, log.read_text()
            return started

        yield start


def _ready(url: str) -> int | None:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/ready", timeout=5).status_code
    return None


def test_a_stopping_server_says_so_finishes_its_answers_and_keeps_feedback(process: Any, engine: FakeEngine) -> None:
    server = process(drain_grace_seconds=3, drain_seconds=30)
    first = httpx.post(f"{server.url}{CHAT}", json=ask(), headers=AS_ANN).json()["id"]
    engine.enqueue(Script(tokens=["a"] * 30, delay=0.2))
    with (
        httpx.Client(base_url=server.url, headers=AS_ANN, timeout=60) as client,
        client.stream("POST", CHAT, json=ask(stream=True)) as answer,
        httpx.Client(base_url=server.url, headers=AS_ANN) as other,
    ):
        chunks = answer.iter_bytes()
        next(chunks)
        assert other.get("/health").headers.get("connection") != "close"
        server.stop()
        drained = until(lambda: None if (ready := other.get("/ready")).status_code == 200 else ready)
        assert (drained.status_code, drained.json()["status"]) == (503, "draining")
        assert drained.headers["Retry-After"]
        until(lambda: other.get("/ready").headers.get("connection") == "close")
        edit = {"type": "edit", "completion_id": first, "edited_text": "Hello there"}
        assert other.post("/v1/feedback", json=edit).status_code == 202, "still accepted"
        assert other.post(CHAT, json=ask()).status_code == 200
        until(lambda: _ready(server.url) is None, 10)
        said = b"".join(chunks)  # longer than the grace
    assert said.endswith(b"data: [DONE]\n\n")
    assert b'"attune"' in said
    assert b'"error"' not in said
    assert server.popen.wait(20) == 0, server.log.read_text()
    assert sorted((turn.answers[0], turn.partial) for turn in server.stored()) == [
        ("Hello world!", False),
        ("Hello world!", False),
        ("a" * 30, False),
    ]
    with sqlalchemy.create_engine(f"sqlite:///{server.data / 'attune.db'}").connect() as rows:
        assert rows.exec_driver_sql("SELECT count(*) FROM feedback").scalar() == 1
        states = [state for (state,) in rows.exec_driver_sql("SELECT state FROM jobs")]
    assert states
    assert "running" not in states, "what was not done is given back"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_what_takes_longer_is_cut_with_an_error(process: Any, engine: FakeEngine, sign: signal.Signals) -> None:
    server = process(drain_seconds=1)
    engine.enqueue(Script(tokens=["a", "b"], hang=True), Script(hang=True))
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.url, headers=AS_ANN, timeout=60) as client:
        with client.stream("POST", CHAT, json=ask(stream=True)) as answer:
            chunks = answer.iter_bytes()
            said = b""
            while b'"b"' not in said:
                said += next(chunks)
            whole = pool.submit(httpx.post, f"{server.url}{CHAT}", json=ask(), headers=AS_ANN, timeout=60)
            until(lambda: len(engine.requests) == 2)
            server.stop(sign)
            said += b"".join(chunks)
        assert '"error":{"message"' in said.decode()
        assert said.endswith(b"data: [DONE]\n\n")
        refused = whole.result()
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
    assert server.popen.wait(20) == 0, server.log.read_text()
    assert engine.aborted.wait(5)
    assert [(turn.answers, turn.partial) for turn in server.stored()] == [(["ab"], True)]
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_is_told_to_stop_while_it_starts_stops(tmp_path: Path, sqlite_template: Path) -> None:
    (tmp_path / "attune.db").write_bytes(sqlite_template.read_bytes())
    given = {"ATTUNE_ENGINE_URL": "http://127.0.0.1:9", "ATTUNE_DATA_DIR": str(tmp_path), "ATTUNE_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_STARTING + SERVE],
        env={**os.environ, **given}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, "told" in done.stdout) == (0, True), done.stderr


def test_a_client_that_reads_nothing_does_not_keep_a_server_from_stopping(process: Any, engine: FakeEngine) -> None:
    server = process(drain_seconds=1)
    engine.enqueue(Script(tokens=["x" * 100_000] * 200))
    with connect(server.url) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps(ask(stream=True)).encode()
        raw.sendall(head("POST", CHAT, len(body), "X-User-Id: ann") + body)
        until(lambda: engine.requests)
        time.sleep(1)  # the buffers fill
        server.stop()
        assert server.popen.wait(30) == 0, server.log.read_text()
    (turn,) = server.stored()
    assert turn.partial


def test_a_second_signal_ends_the_grace(process: Any) -> None:
    server = process(drain_grace_seconds=300, drain_seconds=300)
    server.stop()
    until(lambda: _ready(server.url) == 503)
    server.stop()
    assert server.popen.wait(20) == 0
