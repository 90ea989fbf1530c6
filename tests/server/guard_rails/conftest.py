"""A server over a scripted engine: what the engine received of a request is the evidence."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.settings import Settings
from tests.server.conftest import serving
from tests.server.fake_engine import MODEL, FakeEngine
from tests.server.guard_rails.routes import Body, Route


@dataclass
class Server:
    """A server under test, one client of it, and the engine behind it."""

    client: httpx.Client
    engine: FakeEngine

    def post(self, route: Route, body: Body, **headers: str) -> httpx.Response:
        return self.client.post(route.path, json=body, headers={"X-User-Id": "ann", **headers})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("data")
    (data / "attune.db").write_bytes(sqlite_template.read_bytes())
    with FakeEngine() as engine:
        settings = Settings(engine_url=engine.url, data_dir=data, worker_in_process=False)
        with serving(settings, engine) as running:
            yield Server(running.http(), engine)


@pytest.fixture
def server(shared: Server) -> Server:
    shared.engine.requests.clear()
    shared.engine.headers.clear()
    return shared


def sent(server: Server, route: Route, **changes: Any) -> Body:
    """The body that the engine received for a request that is accepted."""
    answer = server.post(route, route.body(**changes))
    assert answer.status_code == 200, answer.text
    (received,) = server.engine.requests
    assert received.keys() <= route.forwarded
    assert received["model"] == MODEL
    return received


def refuse(server: Server, route: Route, body: Body, param: str, *, status: int = 400) -> None:
    """The request is refused, the error names the field, and the engine received nothing."""
    answer = server.post(route, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["param"] or "").split(".")[0] == param.split(".")[0], error
    assert error["message"]
    assert server.engine.requests == []
