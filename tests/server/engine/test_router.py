"""Router mode: one URL with engines behind it that bring adapters by themselves, and what routers do wrong."""

import gc
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.artifacts.names import named
from adapters.artifacts.object_store import ObjectStore
from server.engine.endpoints import Endpoints
from server.errors import StartRefused
from server.settings import Settings
from store.errors import EngineUnavailable
from tests.server.commands.test_doctor import looked, states
from tests.server.conftest import Running, Start, ask, until
from tests.server.erasing import publish
from tests.server.fake_engine import FakeEngine, Script
from tests.server.sending import ANN

# An engine that is away cuts connections, also one that is just being made as a server's loop ends.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What is left of such a connection is collected here, and in no other file's test."""
    yield
    gc.collect()


HEADERS = {"X-User-Id": ANN.user}


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[FakeEngine]]:
    """Two with our plugin; whoever asks the first one is at the router's."""
    store = ObjectStore(f"file://{tmp_path / 'store'}")

    def brings(name: str) -> bool:
        what = named(name)
        return what is not None and not store.buried(what.opaque_id) and (
            store.manifest(what.opaque_id, what.version) is not None
        )  # fmt: skip

    with ExitStack() as stack:
        made = [stack.enter_context(FakeEngine()) for _ in range(2)]
        for engine in made:
            engine.marks, engine.brings = {"base_sha256": None}, brings
        yield made


@pytest.fixture
def settings(engines: list[FakeEngine], tmp_path: Path) -> dict[str, Any]:
    return {
        "engine_url": engines[0].url,
        "engine_router": True,
        "engine_endpoints": ",".join(engine.url for engine in engines),
        "adapter_store": f"file://{tmp_path / 'store'}",
    }


@pytest.fixture
def running(start: Start, settings: dict[str, Any]) -> Running:
    return start(**settings)


def answered(running: Running, **more: Any) -> int:
    answer = running.http(headers=HEADERS).post("/v1/chat/completions", json=ask(**more))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["attune"]["adapter_version"])


def test_a_version_is_brought_by_whom_the_router_asks_and_nothing_is_loaded_from_here(
    running: Running, engines: list[FakeEngine]
) -> None:
    routed, other = engines
    name = f"{publish(running)}.v1"
    other.adapters[name] = "brought"
    assert answered(running) == 1
    assert routed.adapters == {name: "brought"}
    assert routed.requests[-1]["model"] == name
    sessions = {headers["X-Session-ID"] for headers in routed.headers}
    assert answered(running, attune={"personalize": "retrieval"}) == 0
    assert {headers["X-Session-ID"] for headers in routed.headers} == sessions, "a user stays where the prefixes are"
    assert len(sessions) == 1
    assert not any(name.startswith(session) or ANN.user in session for session in sessions)
    for _ in range(3):
        assert running.http().post("/v1/chat/completions", json=ask()).status_code == 200
    assert len({headers["X-Session-ID"] for headers in routed.headers}) == 4, "who is nobody goes anywhere"
    assert running.http().delete(f"/v1/users/{ANN.user}/adapters/1").status_code == 200
    assert not routed.adapters
    assert not other.adapters


def test_an_engine_that_cannot_bring_it_answers_as_the_base_until_it_can(
    running: Running, engines: list[FakeEngine]
) -> None:
    publish(running)
    assert answered(running) == 1
    brings, engines[0].brings = engines[0].brings, None
    engines[0].restart()
    assert answered(running) == 0
    engines[0].brings = brings
    until(lambda: answered(running) == 1)


def test_an_erasure_is_over_when_every_engine_has_answered_and_the_store_fences_the_rest(
    running: Running, engines: list[FakeEngine], settings: dict[str, Any]
) -> None:
    routed, other = engines
    opaque = publish(running)
    other.adapters[f"{opaque}.v1"] = "brought"
    other.away = True
    assert answered(running) == 1
    assert running.http().delete(f"/v1/users/{ANN.user}").status_code == 202
    until(lambda: not routed.adapters)
    store = ObjectStore(settings["adapter_store"])
    assert store.buried(opaque)
    assert opaque not in store.users()
    assert routed.brings is not None
    assert not routed.brings(f"{opaque}.v1")
    other.away = False
    until(lambda: not other.adapters, 20)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Script(status=404, page="<html>no such route</html>"),
        Script(status=502, page="<html>bad gateway</html>"),
        Script(page="<html>come back later</html>"),
        Script(die_after=2),
        Script(ends=2),
    ],
    ids=["404", "502", "a page", "half, cut", "half, in good order"],
)
def test_what_a_router_does_wrong_is_an_error_of_the_engine(
    running: Running, engines: list[FakeEngine], fault: Script, stream: bool
) -> None:
    if fault.ends and not stream:
        pytest.skip("a whole answer is one piece")
    engines[0].enqueue(fault)
    answer = running.http(headers=HEADERS).post("/v1/chat/completions", json=ask(stream=stream))
    assert answer.status_code == (200 if stream and fault.status == 200 else 503), answer.text
    assert '"type":"server_error"' in answer.text.replace(": ", ":")
    assert "html" not in answer.text
    assert answered(running) == 0, "the next one is answered"


def test_an_engine_without_the_plugin_or_of_another_base_is_refused_at_start(
    start: Start, engines: list[FakeEngine], settings: dict[str, Any]
) -> None:
    engines[1].marks = None
    with pytest.raises(StartRefused, match=rf"{engines[1].url} runs without Attune's plugin"):
        refused(start, settings)
    engines[1].marks = {"base_sha256": "f" * 64}
    with pytest.raises(StartRefused, match=rf"{engines[1].url} serves other weights than ATTUNE_MODEL"):
        refused(start, {**settings, "model": str(Path(__file__).parents[3] / "lab" / "model")})
    engines[1].away = True
    start(**settings)  # who is away may come back as it should


def refused(start: Start, settings: dict[str, Any]) -> None:
    """Build what a start builds; uvicorn would only end."""
    import asyncio
    import tempfile

    from server.composition import build
    from tests.server.conftest import WordEmbedder

    async def begin() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with build(Settings(data_dir=Path(folder), **settings), embedder=WordEmbedder()):
                pass

    asyncio.run(begin())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"adapter_store": None}, "needs ATTUNE_ADAPTER_STORE"),
        ({"engine_endpoints": None}, "needs ATTUNE_ENGINE_ENDPOINTS"),
        ({"engine_url": "http://a,http://b"}, "needs one ATTUNE_ENGINE_URL"),
        ({"pinned_users": {"acme": ["ann"]}}, "are for a list of engines"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "engine_url": "http://r", "engine_router": True, "engine_endpoints": "http://a", "adapter_store": "memory://x",
        "data_dir": tmp_path,
    }  # fmt: skip
    Settings(**given).check()
    with pytest.raises(StartRefused, match=said):
        Settings(**{**given, **changed}).check()


async def test_the_doctor_looks_at_each_engine(
    engines: list[FakeEngine], settings: dict[str, Any], tmp_path: Path
) -> None:
    part = "engines behind the router"
    assert states(await looked(tmp_path, **settings))[part] == ["ok"]
    engines[1].marks = None
    assert states(await looked(tmp_path, **settings))[part] == ["error"]
    engines[1].away = True
    assert states(await looked(tmp_path, **settings))[part] == ["warning"]


@pytest.mark.parametrize(
    "spec",
    ["", "gpu-1:8000", "ftp://a", "http://a,dns://b:1", "dns://b", "file://relative", "k8s://ns/svc", "http://a:b"],
)
def test_endpoints_that_say_nothing_are_refused(spec: str) -> None:
    with pytest.raises(StartRefused, match="ATTUNE_ENGINE_ENDPOINTS must be"):
        Endpoints(spec)


async def test_endpoints_are_looked_up_each_time(tmp_path: Path) -> None:
    assert await Endpoints("http://a:1, http://b:2/").urls() == ("http://a:1", "http://b:2")
    listed = tmp_path / "engines"
    endpoints = Endpoints(f"file://{listed}")
    with pytest.raises(EngineUnavailable):
        await endpoints.urls()
    listed.write_text("# none\n")
    with pytest.raises(EngineUnavailable):
        await endpoints.urls()
    listed.write_text("http://a:1\n\nhttp://b:2\n")
    assert await endpoints.urls() == ("http://a:1", "http://b:2")
    found = await Endpoints("dns://localhost:8000").urls()
    known = {info[4][0] for info in socket.getaddrinfo("localhost", 8000, type=socket.SOCK_STREAM)}
    assert {url.removeprefix("http://").removesuffix(":8000").strip("[]") for url in found} == known


async def test_endpoints_of_a_service_are_asked_of_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    asked: list[tuple[str, str | None, str]] = []

    async def slices(request: web.Request) -> web.Response:
        asked.append((request.path, request.query.get("labelSelector"), request.headers["Authorization"]))
        ends = [{"addresses": ["10.0.0.2"], "conditions": {"ready": False}}, {"addresses": ["10.0.0.1"]}]
        return web.json_response({"items": [{"endpoints": ends}, {"endpoints": None}]})

    app = web.Application()
    app.router.add_get("/{tail:.*}", slices)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        api = f"http://127.0.0.1:{runner.addresses[0][1]}"
        found = await Endpoints("k8s://prod/vllm:8000", account=tmp_path, api=api).urls()
    finally:
        await runner.cleanup()
    assert found == ("http://10.0.0.1:8000", "http://10.0.0.2:8000")
    path = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
    assert asked == [(path, "kubernetes.io/service-name=vllm", "Bearer secret")]
