"""How likely a text is to the engine, over HTTP in vLLM's dialect. That vLLM's figures are right: tests/e2e."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from preference.errors import EngineRejected
from preference.prompt import Message
from server.engine import IDLE_SECONDS, Engine
from tests.server.fake_engine import MODEL, FakeEngine


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        yield fake


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[Engine]:
    engine = Engine(fake.url, base_model=MODEL)
    yield engine
    await engine.close()


ASKED: list[Message] = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "What is it?"}]


@pytest.mark.parametrize("answer", ["It is tea", "tea", "", "What is it? What is it?"])
async def test_the_tokens_of_the_answer_and_its_end_count(engine: Engine, answer: str) -> None:
    """The scripted engine takes a token to be the less likely the longer it is."""
    tokens = [*answer.split(), "<end>"]
    expected = sum(map(len, tokens)) / len(tokens)
    assert await engine.nll(ASKED, answer) == pytest.approx(expected)


async def test_an_adapter_is_asked_by_name_and_must_be_there(engine: Engine, fake: FakeEngine) -> None:
    fake.adapters["u.v1"] = "somewhere"
    assert await engine.nll(ASKED, "tea", model="u.v1") == pytest.approx(4.0)
    with pytest.raises(EngineRejected, match="does not exist"):
        await engine.nll(ASKED, "tea", model="u.v2")


async def test_no_request_is_sent_on_a_connection_that_the_engine_may_be_closing() -> None:
    """vLLM's server closes what was idle for five seconds; a request that crosses with that would fail."""
    assert IDLE_SECONDS < 5
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        engine = Engine(url, base_model=MODEL, idle_seconds=1.5)
        assert await engine.ready()
        assert await engine.ready()
        assert connections == 1
        await asyncio.sleep(2)
        assert await engine.ready()
        assert connections == 2
        await engine.close()
