"""One real server for most of these tests: uvicorn, vLLM on the CPU with the bundled model, MiniLM, PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy
from openai import OpenAI

from lab.lexicon import KIND_BY_NAME
from lab.simulated_user import SimulatedUser
from lab.world import Request

MIN_EDITS = 24
START_SECONDS = 280


@pytest.fixture(scope="package")
def server(postgresql: sqlalchemy.Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server that is ready."""
    with postgresql.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE e2e")
    settings = {
        "ATTUNE_DATABASE_URL": postgresql.url.set(database="e2e").render_as_string(hide_password=False),
        "ATTUNE_ADAPTER_MIN_EDITS": str(MIN_EDITS),
    }
    with running_server(tmp_path_factory.mktemp("server"), settings) as base:
        yield base


@contextmanager
def running_server(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The base URL of a server with its data in ``folder`` that is ready; ``settings`` are environment variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")}
    environment = inherited | {
        "ATTUNE_DATA_DIR": str(folder / "data"),
        "ATTUNE_PORT": str(port),
        "ATTUNE_MODEL": "attune-tiny",
        "ATTUNE_MAX_LORAS": "2",  # two users fill every slot: what leaks from a slot shows
        "VLLM_SERVER_DEV_MODE": "1",  # to ask its workers which adapters they hold
        **settings,
    }
    log = folder / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve"], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(base, process, log)
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        finally:
            process.kill()
            process.wait()


def wait_until_ready(base: str, process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None) -> None:
    """Poll /ready; it must say 503 until the engine answers, then 200."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            break
        try:
            if httpx.get(f"{base}/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"the server did not become ready: {log.read_text()[-3000:] if log else base}")


class Person:
    """An end user of an app: asks with the official client, edits as a simulated user with a hidden style."""

    def __init__(self, base: str, simulated: SimulatedUser, seed: int, model: str = "attune-tiny") -> None:
        import random

        self.model = model
        self.id = f"user-{uuid.uuid4().hex[:8]}"
        self.simulated = simulated
        self.rng = random.Random(seed)
        headers = {"X-User-Id": self.id}
        self.openai = OpenAI(base_url=f"{base}/v1", api_key="none", default_headers=headers, max_retries=0, timeout=120)
        self.http = httpx.Client(base_url=base, headers=headers, timeout=120)

    def request(self, kind: str) -> Request:
        return self.simulated.request(KIND_BY_NAME[kind], self.rng)

    def ask(self, text: str, *, max_tokens: int = 250, **attune: object) -> Any:
        return self.openai.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": text}],
            temperature=0,
            max_tokens=max_tokens,
            extra_body={"attune": attune} if attune else None,
        )

    def send_edit(self, completion_id: str, text: str, wait: float = 60) -> dict[str, object]:
        """Send an edit and wait until it was learned from."""
        sent = self.http.post(
            "/v1/feedback", json={"type": "edit", "completion_id": completion_id, "edited_text": text}
        )
        assert sent.status_code == 202, sent.text
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            held = self.http.get(f"/v1/feedback/{sent.json()['id']}").json()
            if held["status"] != "pending":
                return dict(held)
            time.sleep(0.1)
        raise AssertionError("the edit was not learned from in time")

    def train(self, kind: str) -> dict[str, Any]:
        """Send edits until an adapter is made; its version as the API shows it, once it answers or if it never will."""
        for _ in range(MIN_EDITS):
            request = self.request(kind)
            answer = self.ask(request.text)
            # The last edit waits for the training: a user has one job at a time.
            self.send_edit(answer.id, self.simulated.edit(request, answer.choices[0].message.content), wait=300)
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            held = self.http.get(f"/v1/users/{self.id}/adapters").json()["data"]
            if held and held[-1]["state"] in ("refused", "failed"):
                return dict(held[-1])
            if held and held[-1]["state"] == "ready" and self._answers(held[-1]["version"]):
                return dict(held[-1])
            time.sleep(0.5)
        raise AssertionError("no adapter in time")

    def _answers(self, version: int) -> bool:
        """Whether the engine has loaded it: until then what served before answers."""
        answer = self.ask("Hello", store=False, personalize="adapter", max_tokens=1)
        return bool(answer.attune["adapter_version"] == version)

    def close(self) -> None:
        self.openai.close()
        self.http.close()


@pytest.fixture
def people(server: str) -> Iterator["People"]:
    made = People(server)
    yield made
    for person in made.all:
        person.close()


class People:
    """Makes persons and closes their connections."""

    def __init__(self, base: str, model: str = "attune-tiny") -> None:
        self._base = base
        self._model = model
        self.all: list[Person] = []

    def __call__(self, *kinds: str, seed: int = 1) -> Person:
        self.all.append(Person(self._base, SimulatedUser.invent(kinds, seed), seed, self._model))
        return self.all[-1]
