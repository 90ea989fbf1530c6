"""Connections that dawdle, drip, or send ahead: each is given up in time, and none writes into another's answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from server.app import create_app
from server.http.connection import HEAD_LIMIT, limited
from server.settings import Settings
from tests.server.conftest import WordEmbedder, until
from tests.server.fake_engine import FakeEngine, Script
from tests.server.raw import CHAT, chat, connect, head, read_all, read_until


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
