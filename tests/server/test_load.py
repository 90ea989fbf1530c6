"""More than the server takes, clients that leave, hang or dawdle, and a server that is told to stop."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
import uvicorn

from preference import turns
from preference.database import Database
from preference.owner import Owner
from server.app import create_app
from server.connection import HEAD_LIMIT, limited
from server.settings import Settings
from tests.server.conftest import Running, Start, WordEmbedder, ask, until
from tests.server.fake_engine import FakeEngine, Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(("limits", "status"), [({"in_flight_per_key": 3}, 429), ({"in_flight_total": 3}, 503)])
@pytest.mark.parametrize("stream", [False, True])
def test_beyond_the_limits_only_the_others_are_refused(
    start: Start, limits: dict[str, int], status: int, stream: bool
) -> None:
    running = start(**limits)
    running.engine.enqueue(*[Script(delay=4 if not stream else 1)] * 3)
    client = running.http()
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(client.post, CHAT, json=ask(stream=stream), headers=AS_ANN) for _ in range(3)]
        until(lambda: len(running.engine.requests) == 3)
        for _ in range(5):
            refused = client.post(CHAT, json=ask(), headers=AS_ANN)
            assert refused.status_code == status, refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["error"]["type"] == ("rate_limit_error" if status == 429 else "server_error")
        assert client.get("/health").status_code == 200, "liveness has no limit"
        for answer in accepted:
            assert answer.result().status_code == 200
            assert "Hello" in answer.result().text
    assert len(running.engine.requests) == 3, "nothing that was refused reached the engine"
    until(lambda: client.post(CHAT, json=ask(), headers=AS_ANN).status_code == 200)  # places come back


def test_places_come_back_from_clients_that_leave(start: Start) -> None:
    running = start(in_flight_per_key=2, in_flight_total=2)

    def arrived(count: int) -> bool:
        return len(running.engine.requests) >= count

    for number, stream in enumerate((False, True, False, True)):
        running.engine.enqueue(Script(tokens=[], hang=True))
        with connect(running.url) as raw:
            raw.sendall(chat(stream=stream))
            until(partial(arrived, number + 1))
    assert running.engine.aborted.wait(5)
    client = running.http()
    until(lambda: client.post(CHAT, json=ask(), headers=AS_ANN).status_code == 200)


@pytest.mark.parametrize("tokens", [[], ["a", "b"]])
def test_a_client_that_resets_its_connection_aborts_in_the_engine(running: Running, tokens: list[str]) -> None:
    running.engine.enqueue(Script(tokens=tokens, hang=True))
    raw = connect(running.url)
    body = json.dumps(ask(stream=True)).encode()
    raw.sendall(head("POST", CHAT, len(body), "X-User-Id: ann") + body)
    seen = b""
    while b'"b"' not in seen and (tokens or b"200 OK" not in seen):
        seen += raw.recv(65536)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    raw.close()
    assert running.engine.aborted.wait(5)
    if tokens:
        (turn,) = until(lambda: running.services.database.read_now(turns.page, ANN))
        assert (turn.answers, turn.partial) == (["ab"], True)


# --- connections that dawdle


@pytest.fixture
def bounded(tmp_path: Path, sqlite_template: Path, engine: FakeEngine) -> Iterator[tuple[str, int]]:
    """A server whose requests have a second to arrive, and that takes eight connections."""
    (tmp_path / "attune.db").write_bytes(sqlite_template.read_bytes())
    settings = Settings(engine_url=engine.url, data_dir=tmp_path, worker_in_process=False)
    app = create_app(settings, embedder=WordEmbedder())
    config = uvicorn.Config(app, port=0, log_level="critical", http=limited(1.0, 8), timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, 20)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", port
    finally:
        server.should_exit = True
        thread.join(20)


def connect(url: str) -> socket.socket:
    at = httpx.URL(url)
    return socket.create_connection((at.host, at.port), timeout=20)


def head(method: str, path: str, length: int, *headers: str) -> bytes:
    about = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    lines = [f"{method} {path} HTTP/1.1", *about]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def read_all(raw: socket.socket) -> bytes:
    seen = b""
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(65536):
            seen += part
    return seen


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        head("POST", CHAT, 1000) + b'{"model"',
        head("POST", CHAT, 1000)[:-2] + b"Expect: 100-continue\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
    ids=["nothing", "half a head", "half a body", "100-continue", "half a chunk"],
)
def test_a_request_that_does_not_arrive_is_given_up(bounded: tuple[str, int], sent: bytes) -> None:
    with connect(bounded[0]) as raw:
        raw.sendall(sent)
        assert b"408 Request Timeout" in read_all(raw)
    assert httpx.get(f"{bounded[0]}/health").status_code == 200


def test_a_blank_line_after_an_answer_is_no_reason_to_wait(bounded: tuple[str, int]) -> None:
    with connect(bounded[0]) as raw:
        raw.sendall(head("GET", "/health", 0))
        assert b"200 OK" in raw.recv(65536)
        raw.sendall(b"\r\n")
        assert read_all(raw) == b""
    with connect(bounded[0]) as raw:
        raw.sendall(head("GET", "/health", 0))
        assert b"200 OK" in raw.recv(65536)
        raw.sendall(b"\r\n" + head("GET", "/health", 0))
        assert b"200 OK" in raw.recv(65536), "a request may follow it"


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("line", [b"CONNECT example.com:443", b"GET http://", b"GET http://a:99999999/"])
def test_a_target_that_cannot_be_read_is_refused(
    bounded: tuple[str, int], line: bytes, before: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(bounded[0]) as raw:
        for _ in range(before):
            raw.sendall(head("GET", "/health", 0))
            assert b"200 OK" in raw.recv(65536)
        raw.sendall(line + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(raw).startswith(b"HTTP/1.1 400")
    assert not [record for record in caplog.records if record.name == "asyncio"]


def drip(raw: socket.socket) -> None:
    for _ in range(2000):
        raw.sendall(b" ")
        time.sleep(0.01)


def test_a_request_that_drips_is_given_up(bounded: tuple[str, int]) -> None:
    with connect(bounded[0]) as raw:
        raw.sendall(head("POST", CHAT, 100_000))
        with pytest.raises(ConnectionError):
            drip(raw)


def test_a_head_without_end_is_refused(bounded: tuple[str, int]) -> None:
    for start in (b"GET /", b"GET / HTTP/1.1\r\nX-Long: ", b"GET / HTTP/1.1\r\n"):
        line = b"X-A: b\r\n" if start.endswith(b"\r\n") else b"aaaaaaaa"
        with connect(bounded[0]) as raw, contextlib.suppress(ConnectionError):
            raw.sendall(start)
            for _ in range(100 * HEAD_LIMIT // len(line) // 1000):
                raw.sendall(line * 1000)
            assert read_all(raw).startswith(b"HTTP/1.1 400")
    large = {"X-Large": "a" * (HEAD_LIMIT // 2)}
    assert httpx.get(f"{bounded[0]}/health", headers=large).status_code == 200


def test_connections_have_a_limit_and_places_come_back(bounded: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            held = stack.enter_context(connect(bounded[0]))
            held.sendall(head("GET", "/health", 0))
            assert b"200 OK" in held.recv(65536)
        with connect(bounded[0]) as ninth:
            assert read_all(ninth) == b""
    until(lambda: _answers(bounded[0]))


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health").status_code == 200
    return False


def test_pipelined_requests_and_kept_connections_still_work(bounded: tuple[str, int]) -> None:
    with connect(bounded[0]) as raw:
        for _ in range(2):
            raw.sendall(head("GET", "/health", 0) * 3)
            seen = b""
            while seen.count(b'{"status":"ok"}') < 3:
                seen += raw.recv(65536)
            time.sleep(1.3)  # longer than a request may take to arrive: an idle connection is not one


def chat(text: str = "Hi", **more: Any) -> bytes:
    body = json.dumps(ask(text, **more)).encode()
    return head("POST", CHAT, len(body), "X-User-Id: ann") + body


def read_until(raw: socket.socket, end: bytes) -> bytes:
    seen = b""
    while end not in seen:
        part = raw.recv(65536)
        assert part, seen
        seen += part
    return seen


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "ahead",
    [head("GET", "/health", 0), chat("x" * 100_000), chat() * 3, chat()[:-5]],
    ids=["small", "large", "three", "half"],
)
def test_a_client_that_leaves_with_requests_ahead_aborts_in_the_engine(
    bounded: tuple[str, int], engine: FakeEngine, stream: bool, ahead: bytes
) -> None:
    engine.enqueue(Script(tokens=["a"], hang=True))
    with connect(bounded[0]) as raw:
        raw.sendall(chat(stream=stream))
        until(lambda: engine.requests)
        raw.sendall(ahead)
        time.sleep(0.2)  # it is read before the connection is gone
    assert engine.aborted.wait(5)
    assert len(engine.requests) == 1


def test_requests_ahead_of_an_answer_have_a_limit(bounded: tuple[str, int], engine: FakeEngine) -> None:
    engine.enqueue(Script(hang=True))
    with connect(bounded[0]) as raw:
        raw.sendall(chat())
        until(lambda: engine.requests)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                raw.sendall(chat("x" * 10_000))
        assert read_all(raw) == b""
    assert engine.aborted.wait(5)


@pytest.mark.parametrize("late", [b"POST /v1/chat/completions HTTP/1.1\r\nX-Slow: ", chat()[:-5]])
def test_a_late_request_does_not_write_into_the_answer_before_it(
    bounded: tuple[str, int], engine: FakeEngine, late: bytes
) -> None:
    engine.enqueue(Script(tokens=["a"] * 10, delay=0.25))
    with connect(bounded[0]) as raw:
        raw.sendall(chat(stream=True))
        seen = read_until(raw, b'"a"')
        raw.sendall(late)
        seen += read_until(raw, b"0\r\n\r\n")
        assert b"data: [DONE]" in seen
        assert b"HTTP/1.1 408" not in seen
        assert read_all(raw).startswith(b"HTTP/1.1 408")


def test_what_cannot_be_read_does_not_write_into_the_answer_before_it(
    bounded: tuple[str, int], engine: FakeEngine
) -> None:
    engine.enqueue(Script(tokens=["a"], hang=True))
    with connect(bounded[0]) as raw:
        raw.sendall(chat(stream=True))
        read_until(raw, b'"a"')
        raw.sendall(b"\0 no request\r\n\r\n")
        assert b"HTTP/1.1" not in read_all(raw)
    assert engine.aborted.wait(5)


# --- stopping


SERVE = """
from functools import partial
from server.app import serve
from server.services import build
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
