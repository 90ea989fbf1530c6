"""Clients that leave real vLLM, counted by its own metrics; and a server that is told to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import wait_until_ready
from tests.e2e.test_recovery import END_OF_TURN

DRAIN_SECONDS = 12
MAX_TOKENS = 1800
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Counts:
    """Requests that run or wait, requests that ended by themselves, and tokens generated, all in all."""

    running: float
    finished: float
    tokens: float


class Stoppable:
    """A server of its own, with vLLM as its child: its address, its process, and what vLLM counts."""

    def __init__(self, url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.url = url
        self.process = process
        self.log = log
        self.client = httpx.Client(base_url=url, headers={"X-User-Id": "ann"}, timeout=120)
        self.engine: httpx.Client | None = None

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def engine_counts(self) -> Counts:
        """What vLLM itself says that it does and did."""
        if self.engine is None:
            commands = [child.cmdline() for child in self.children()]
            uds = next(command[command.index("--uds") + 1] for command in commands if "--uds" in command)
            self.engine = httpx.Client(transport=httpx.HTTPTransport(uds=uds), timeout=20)
        text = self.engine.get("http://engine/metrics").text
        total: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                total[sample.name] += sample.value
        return Counts(
            running=total["vllm:num_requests_running"] + total["vllm:num_requests_waiting"],
            finished=total["vllm:request_success_total"],
            tokens=total["vllm:generation_tokens_total"],
        )


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoppable]:
    folder = tmp_path_factory.mktemp("stoppable")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")} | {
        "ATTUNE_DATA_DIR": str(folder / "data"),
        "ATTUNE_PORT": str(port),
        "ATTUNE_MODEL": "attune-tiny",
        "ATTUNE_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "ATTUNE_DRAIN_GRACE_SECONDS": "1",
    }
    log = folder / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve"], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    server = Stoppable(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until_ready(server.url, process, log)
        yield server
    finally:
        server.client.close()
        if server.engine is not None:
            server.engine.close()
        process.kill()
        process.wait()


def endless(**more: Any) -> dict[str, Any]:
    """A request whose answer takes seconds, because it may not end by itself."""
    content = "Write an email to Anna, my client.\nNotes:\nabout: the launch"
    return {
        "model": "attune-tiny",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": MAX_TOKENS,
        "logit_bias": {END_OF_TURN: -100},
        **more,
    }


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value


def leave_at_once(server: Stoppable, *, stream: bool = True) -> None:
    """Before the first byte of an answer."""
    at = httpx.URL(server.url)
    body = json.dumps(endless(stream=stream)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {at.host}\r\nX-User-Id: ann\r\nContent-Type: application/json\r\n"
    with socket.create_connection((at.host, at.port)) as raw:
        raw.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        until(lambda: server.engine_counts().running > 0)


def leave_while_streaming(server: Stoppable) -> None:
    with server.client.stream("POST", CHAT, json=endless(stream=True)) as answer:
        for number, _ in enumerate(answer.iter_lines()):
            if number > 20:
                return


def leave_a_whole_answer(server: Stoppable) -> None:
    leave_at_once(server, stream=False)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("leave", [leave_at_once, leave_while_streaming, leave_a_whole_answer])
def test_a_client_that_leaves_aborts_in_vllm(own: Stoppable, leave: Callable[[Stoppable], None]) -> None:
    before = own.engine_counts()
    assert before.running == 0
    partial = len(turns(own))
    leave(own)
    after = until(lambda: counts if (counts := own.engine_counts()).running == 0 else None)
    assert after.finished == before.finished, "it neither came to an end nor to its length"
    assert after.tokens < before.tokens + MAX_TOKENS - 100
    if leave is leave_while_streaming:
        until(lambda: len(turns(own)) > partial)
        newest = max(turns(own), key=lambda turn: float(turn["created_at"]))
        assert newest["partial"] is True
        assert newest["answers"][0]


def turns(server: Stoppable) -> list[dict[str, Any]]:
    """The user's turns, as their export has them."""
    listed = server.client.get("/v1/users/ann/export")
    lines = [json.loads(line) for line in listed.text.splitlines() if line]
    return [line for line in lines if line.get("object") == "turn"]


@pytest.mark.timeout(400)
def test_a_server_that_is_told_to_stop_drains_and_takes_vllm_with_it(own: Stoppable) -> None:
    """The last test of this server."""
    children = own.children()
    assert len(children) >= 2
    with ThreadPoolExecutor(4) as pool:
        short = endless(stream=True, max_tokens=100)
        long = [pool.submit(own.client.post, CHAT, json=endless(stream=True, n=4)) for _ in range(3)]
        done = pool.submit(own.client.post, CHAT, json=short)
        until(lambda: own.engine_counts().running == 13)
        own.process.send_signal(signal.SIGTERM)
        refused = until(lambda: None if (r := httpx.get(f"{own.url}/ready", timeout=5)).status_code == 200 else r, 5)
        assert refused.json()["status"] == "draining"
        finished, cut = done.result(), [answer.result() for answer in long]
    assert finished.status_code == 200
    assert finished.text.endswith("data: [DONE]\n\n")
    assert '"attune"' in finished.text
    for answer in cut:
        assert answer.status_code == 200
        assert answer.text.endswith("data: [DONE]\n\n"), "whole, or with an error in its place"
        assert ('"attune"' in answer.text) != ('"error":{' in answer.text)
    assert own.process.wait(60) == 0, own.log.read_text()[-3000:]
    gone = psutil.wait_procs(children, timeout=20)[1]
    assert gone == [], "vLLM and its helpers are gone"
    assert "Traceback" not in own.log.read_text()
