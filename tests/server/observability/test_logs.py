"""Lines of the log: their form, their request ids, and that no text of a user is ever in one."""

import io
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel

from server.observability import logs
from store.errors import EngineRejected, EngineUnavailable
from tests.server.conftest import ask, until
from tests.server.fake_engine import FakeEngine, Script

CANARY = "canary-3e9d text"


@contextmanager
def logger(style: Literal["text", "json"]) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own with our handler, and what that writes."""
    written = io.StringIO()
    made = logging.Logger("attune.test")
    made.addHandler(logs.handler(style, written))
    token = logs.request_id.set("req-1")
    try:
        yield made, written
    finally:
        logs.request_id.reset(token)


def test_a_line_of_text_has_its_request_id() -> None:
    with logger("text") as (log, written):
        log.warning("hello %s", "wörld")
    assert written.getvalue().endswith(" WARNING attune.test [req-1] hello wörld\n")


def test_a_line_of_json_has_its_fields() -> None:
    with logger("json") as (log, written):
        log.info("hello\n%s", "wörld", extra={"route": "/v1/models", "status": 200})
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("timestamp").endswith("+00:00")
    assert told == {
        "level": "INFO",
        "logger": "attune.test",
        "request_id": "req-1",
        "message": "hello\nwörld",
        "route": "/v1/models",
        "status": 200,
    }


class Number(BaseModel):
    number: int


def raise_value() -> None:
    raise ValueError(CANARY)


def raise_validation() -> None:
    Number.model_validate({"number": CANARY})


def raise_key() -> None:
    dict[str, str]()[CANARY]


def raise_rejected() -> None:
    raise EngineRejected(CANARY)


def raise_chain() -> None:
    try:
        raise_value()
    except ValueError as error:
        raise OSError("the disk is full") from error


def raise_in_context() -> None:
    try:
        raise_value()
    except ValueError:
        raise_key()


def raise_group() -> None:
    try:
        raise_chain()
    except OSError as error:
        raise ExceptionGroup(CANARY, [ValueError(CANARY), error]) from None


def raise_note() -> None:
    error = ValueError("x")
    error.add_note(CANARY)
    raise error


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (raise_value, ["ValueError"]),
        (raise_validation, ["ValidationError"]),
        (raise_key, ["KeyError"]),
        (raise_rejected, ["EngineRejected"]),
        (raise_chain, ["ValueError", "which led to", "OSError: the disk is full"]),
        (raise_in_context, ["ValueError", "which led to", "KeyError"]),
        (raise_group, ["ExceptionGroup", "2 of 2", "OSError: the disk is full"]),
        (raise_note, ["ValueError"]),
    ],
)
def test_a_traceback_says_where_and_never_what_a_user_wrote(
    style: Literal["text", "json"], fail: Any, told: list[str]
) -> None:
    with logger(style) as (log, written):
        try:
            fail()
        except Exception:
            log.exception("it failed")
    text = written.getvalue()
    assert CANARY not in text
    assert fail.__name__ in text  # the frame
    places = [text.index(part) for part in told]
    assert places == sorted(places)


@pytest.mark.parametrize("error", [OSError("no space"), EngineUnavailable("it restarts"), TypeError("not a list")])
def test_what_speaks_of_the_system_is_told(error: Exception) -> None:
    assert logs.describe(error).endswith(f"{type(error).__name__}: {error}")


def test_a_traceback_is_bounded() -> None:
    error: Exception = ValueError("first")
    for number in range(200):
        later = ValueError(str(number))
        later.__cause__, error = error, later
    assert logs.describe(error).count("Traceback") < 20


@contextmanager
def attune(folder: Path, engine: FakeEngine, **settings: str) -> Iterator[tuple[httpx.Client, Path]]:
    """The real command in a process of its own: a client for it, and its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"data_dir": str(folder / "data"), "engine_url": engine.url, "port": str(port), **settings}
    environment = {**os.environ, **{f"ATTUNE_{name.upper()}": value for name, value in given.items()}}
    log = folder / "attune.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve"], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

            def up() -> bool:
                assert process.poll() is None, log.read_text()
                with suppress(httpx.TransportError):
                    return http.get("/ready").status_code == 200
                return False

            until(up, seconds=120)
            yield http, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def paint(value: Any) -> Iterator[Any]:
    """``value`` with the canary in each of its places in turn, as a text, a key and a wrong type."""
    yield CANARY
    yield [CANARY]
    yield {CANARY: CANARY}
    if isinstance(value, dict):
        yield {**value, CANARY: CANARY}
        for key, inner in value.items():
            yield from ({**value, key: painted} for painted in paint(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], painted, *value[place + 1 :]] for painted in paint(inner))


BODIES: dict[str, tuple[str, Any]] = {
    "/v1/chat/completions": (
        "POST",
        ask(
            stream=False, n=1, stop="x", user="u", metadata={"user_id": "m"}, seed=1, tools=[], tool_choice="auto",
            response_format={"type": "text"}, attune={"values": [{"preference": "x"}], "personalize": "auto", "k": 1},
        ),
    ),
    "/v1/feedback": ("POST", {"type": "edit", "completion_id": "c", "edited_text": "x", "choice": 0, "user": "u"}),
    "/v1/users/ann/preferences": ("POST", {"text": "x", "context": "y"}),
    "/v1/users/ann/preferences/search": ("POST", {"context": "y", "k": 1}),
    "/v1/users/ann/values": ("PUT", {"values": [{"preference": "x", "dimension": "style"}]}),
}  # fmt: skip


def provoke(http: httpx.Client, engine: FakeEngine, folder: Path) -> int:
    """Requests with the canary in every field, good, bad and failing; gives how many were answered."""
    sent = 0

    def send(method: str, path: str, **arguments: Any) -> httpx.Response:
        nonlocal sent
        sent += 1
        return http.request(method, path, **arguments)

    user = {"X-User-Id": CANARY}
    for path, (method, body) in BODIES.items():
        for painted in paint(body):
            send(method, path, json=painted, headers=user)
        send(method, path, content=f'{{"{CANARY}', headers={"Content-Type": "application/json"})
        send(method, path, content=CANARY)
    for path in (f"/v1/users/{CANARY}/values", f"/v1/turns/{CANARY}", f"/v1/feedback/{CANARY}", f"/{CANARY}"):
        send("GET", f"{path}?{CANARY}={CANARY}&user={CANARY}")
    for name in ("X-Request-Id", "Authorization", "x-api-key", "Idempotency-Key", "User-Agent", "traceparent"):
        send("GET", "/v1/models", headers={name: CANARY})
    assert http.request("CANARY", "/v1/models").status_code == 400  # refused before it is a request

    # What the engine says in its errors may quote the prompt.
    for stream in (False, True):
        for script in (Script(status=400, error=CANARY), Script(status=500, error=CANARY), Script(error_event=True)):
            engine.enqueue(script)
            send("POST", "/v1/chat/completions", json=ask(CANARY, stream=stream), headers=user)

    # Learning fails while it handles the user's texts.
    answer = send("POST", "/v1/chat/completions", json=ask(CANARY), headers=user).json()
    engine.enqueue(*[Script(status=422, error=CANARY)] * 4)
    body = {"type": "edit", "completion_id": answer["id"], "edited_text": f"{CANARY} and more"}
    accepted = send("POST", "/v1/feedback", json=body, headers=user).json()

    def failed() -> bool:
        status: str = send("GET", f"/v1/feedback/{accepted['id']}", headers=user).json()["status"]
        return status == "failed"

    until(failed, seconds=30)

    # A row that cannot be read: an error that nobody expected, whose message quotes the row.
    with sqlite3.connect(folder / "data" / "attune.db") as database:
        broken = json.dumps([{"preference": {CANARY: CANARY}}])
        database.execute("UPDATE turns SET applied_values = ? WHERE completion_id = ?", (broken, answer["id"]))
        database.execute("UPDATE users SET standing_values = ? WHERE user_id = ?", (broken, CANARY))
    database.close()
    assert send("GET", f"/v1/turns/{answer['id']}", headers=user).status_code == 500
    assert send("POST", "/v1/chat/completions", json=ask(CANARY), headers=user).status_code == 500
    return sent


@pytest.mark.parametrize(("style", "level"), [("json", "debug"), ("text", "info")])
def test_a_server_never_logs_what_users_wrote(
    tmp_path: Path, engine: FakeEngine, style: Literal["text", "json"], level: str
) -> None:
    with attune(tmp_path, engine, log_format=style, log_level=level) as (http, log):
        sent = provoke(http, engine, tmp_path)
        answer = http.get("/v1/models", headers={"X-Request-Id": "mine-1"})
        assert answer.headers["X-Request-Id"] == "mine-1"
        time.sleep(0.2)  # the line is written after the last byte
    text = log.read_text()
    assert "canary" not in text.lower()
    access = [line for line in text.splitlines() if "attune.access" in line and "/ready" not in line]
    assert len(access) == sent + 1
    assert "Exception in ASGI application" in text
    assert "ValidationError" in text
    if style == "json":
        lines = [json.loads(line) for line in text.splitlines()]
        (line,) = (line for line in lines if line["request_id"] == "mine-1")
        assert line.pop("seconds") > 0
        told = {"method": "GET", "route": "/v1/models", "status": 200, "tenant": "local"}
        assert line.items() >= told.items()
        unexpected = [line for line in lines if line["message"].startswith("Exception in ASGI application")]
        status = {line["request_id"]: line["status"] for line in lines if line["logger"] == "attune.access"}
        assert [status[line["request_id"]] for line in unexpected] == [500, 500]
    else:
        assert "[mine-1] GET /v1/models 200 " in text
