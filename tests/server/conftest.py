"""A real uvicorn in a thread, in front of the scripted engine."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import uvicorn

from adapters.training.process import RunTrainer
from preference.ports import Vectors
from server.app import create_app
from server.http.connection import limited
from server.services import Services
from server.settings import Settings
from store import keys
from tests.server.fake_engine import FakeEngine


class WordEmbedder:
    """Bags of hashed words: texts that share words are alike. Fast, and a real embedder as far as anybody can tell."""

    name = "words"
    dimension = 256
    kinds = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split() or [""]:
                vectors[row, int.from_bytes(hashlib.sha256(word.encode()).digest()[:2]) % self.dimension] += 1
        lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / lengths

    def goes_on(self, vector: Vectors) -> bool:
        return False


@dataclass
class Running:
    """A server under test: its address, the engine behind it, and its services for looking at rows."""

    url: str
    engine: FakeEngine
    services: Services
    opened: ExitStack

    def client(self, **arguments: Any) -> openai.OpenAI:
        """The official client."""
        arguments = {"api_key": "none", "max_retries": 0, "timeout": 20, **arguments}
        return self.opened.enter_context(openai.OpenAI(base_url=f"{self.url}/v1", **arguments))

    def http(self, **arguments: Any) -> httpx.Client:
        """A plain client."""
        return self.opened.enter_context(httpx.Client(base_url=self.url, timeout=20, **arguments))


Start = Callable[..., Running]

UNEXPLAINED = "Hello world! Once more round the garden and past the gate before we all go home."
"""An edit of the scripted engine's answer that shows nothing which can be counted: the learner asks a model."""


@contextmanager
def serving(settings: Settings, engine: FakeEngine, run_trainer: RunTrainer | None = None) -> Iterator[Running]:
    app = create_app(settings, embedder=WordEmbedder(), run_trainer=run_trainer)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=limited(settings.request_timeout, settings.connections_limit),
        log_level="warning",
        timeout_graceful_shutdown=1,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with ExitStack() as opened:
            yield Running(f"http://127.0.0.1:{port}", engine, app.state.services, opened)
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def start(engine: FakeEngine, tmp_path: Path, sqlite_template: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(**changed: Any) -> Running:
            data = tmp_path / "data"
            data.mkdir(exist_ok=True)
            if not (data / "attune.db").exists():
                (data / "attune.db").write_bytes(sqlite_template.read_bytes())
            given = {"engine_url": engine.url, "data_dir": data, "worker_in_process": False, **changed}
            return stack.enter_context(serving(Settings(**given), engine))

        yield start


@pytest.fixture
def running(start: Start) -> Running:
    return start()


def ask(text: str = "Write an email to Ann", **more: Any) -> dict[str, Any]:
    """A chat request's arguments."""
    from tests.server.fake_engine import MODEL

    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true value of ``condition``, polled."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return value


def closed(running: Running) -> None:
    """Wait until the server has noticed that there is a key: from then on it lets nobody in without one."""
    http = running.http()
    until(lambda: http.get("/v1/models").status_code == 401)


def with_key(running: Running, tenant: str = "acme") -> tuple[str, str]:
    """A tenant's key: its id, and as it is shown once. From then on nobody gets in without one."""
    id, key = running.services.database.write_now(keys.create, tenant, "test")
    closed(running)
    return id, key
