"""How an engine is asked over HTTP: with which priority, and on which connections."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from server.engine.client import BACKGROUND, IDLE_SECONDS, Engine
from store.message import Message
from tests.server.fake_engine import MODEL, FakeEngine

ASKED: list[Message] = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "What is it?"}]


@pytest.fixture
def fake() -> Iterator[FakeEngine]:
    with FakeEngine() as fake:
        yield fake


async def test_what_nobody_waits_for_comes_after_answers_where_the_engine_goes_by_priority(fake: FakeEngine) -> None:
    async def asked(*, by_priority: bool) -> list[int]:
        engine = Engine(fake.url, base_model=MODEL, by_priority=by_priority)
        fake.by_priority = by_priority
        fake.priorities.clear()
        await engine.complete("/v1/chat/completions", {"model": MODEL, "messages": list(ASKED)})
        await engine.generate(ASKED, max_tokens=4)
        await engine.score([(ASKED, "tea")])
        await engine.close()
        return list(fake.priorities)

    assert await asked(by_priority=True) == [0, BACKGROUND, BACKGROUND]
    assert await asked(by_priority=False) == [0, 0, 0]


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
