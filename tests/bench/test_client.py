"""The client against the mock engine: what it stamps is what was sent."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench import servers
from bench.client import Answer, Broken, Connection, request
from bench.servers import Server


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Server]:
    async with servers.mock_engine(tmp_path) as running:
        yield running


def chat(**more: object) -> bytes:
    body = {"model": servers.MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, **more}
    return request("127.0.0.1", "/v1/chat/completions", body)


async def test_a_paced_token_carries_the_time_at_which_it_was_sent(engine: Server) -> None:
    await servers.set_pace(engine, 1)
    connection = await Connection.open("127.0.0.1", engine.port)
    answer = await connection.ask(chat(stream=True))
    connection.close()
    assert answer.status == 200
    assert answer.events()[-1][1] == b"[DONE]"
    tokens = answer.tokens()
    assert len(tokens) == 5
    assert all(answer.asked < int(sent) < came <= answer.ended for came, sent in tokens)
    assert [came for came, _ in tokens] == sorted(came for came, _ in tokens)


async def test_one_connection_serves_many_answers_of_both_kinds(engine: Server) -> None:
    connection = await Connection.open("127.0.0.1", engine.port)
    for _ in range(3):
        whole = json.loads((await connection.ask(chat())).body)
        assert whole["usage"]["completion_tokens"] == len(whole["choices"][0]["message"]["content"].split()) == 5
        streamed = await connection.ask(chat(stream=True, stream_options={"include_usage": True}))
        assert json.loads(streamed.events()[-2][1])["usage"]["completion_tokens"] == 5
    connection.close()


async def test_without_a_pace_the_same_request_has_the_same_answer(engine: Server) -> None:
    connection = await Connection.open("127.0.0.1", engine.port)
    said = [json.loads((await connection.ask(chat())).body)["choices"][0]["message"]["content"] for _ in range(2)]
    streams = [(await connection.ask(chat(stream=True))).tokens() for _ in range(2)]
    connection.close()
    assert {*said, *("".join(token for _, token in stream) for stream in streams)} == {said[0]}


async def test_an_unknown_path_is_no_answer(engine: Server) -> None:
    connection = await Connection.open("127.0.0.1", engine.port)
    assert (await connection.ask(request("127.0.0.1", "/v1/nothing", {}))).status == 404
    connection.close()


async def test_a_closed_connection_is_said(engine: Server) -> None:
    connection = await Connection.open("127.0.0.1", engine.port)
    connection.close()
    assert connection.closed
    with pytest.raises(Broken):
        await connection.ask(chat())


WHOLE = b'{"id": "a", "choices": [{"message": {"content": "Hi"}}], "attune": {"adapter_version": 2}}'
EVENTS = (
    b'data: {"id": "a", "choices": [{"delta": {"content": "H"}}]}\n\n',
    b'data: {"id": "a", "choices": [{"delta": {"content": "i"}}]}\n\n',
    b'data: {"id": "a", "choices": [], "attune": {"adapter_version": 2}}\n\n',
    b"data: [DONE]\n\n",
)


@pytest.mark.parametrize(
    "pieces", [(WHOLE,), EVENTS, (b"".join(EVENTS),), (EVENTS[0][:20], EVENTS[0][20:], *EVENTS[1:])]
)
def test_an_answer_says_its_text_and_its_version_streamed_or_not(pieces: tuple[bytes, ...]) -> None:
    answer = Answer(200, 0, pieces=[(number, piece) for number, piece in enumerate(pieces)])
    assert answer.said() == ("Hi", 2)
    assert answer.id == "a"


@pytest.mark.parametrize(
    ("status", "pieces"),
    [
        (503, (WHOLE,)),
        (200, EVENTS[:-1]),
        (200, (EVENTS[0], b'data: {"error": {"message": "gone"}}\n\n', EVENTS[-1])),
    ],
)
def test_an_answer_that_is_not_whole_says_so(status: int, pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(Broken):
        Answer(status, 0, pieces=[(0, piece) for piece in pieces]).said()
