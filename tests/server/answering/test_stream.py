"""Streaming: bytes untouched, attune in the last chunk, nothing lost when either end goes away."""

import json
import time
from typing import Any

import openai
import pytest

from store import turns, users
from store.owner import Owner
from tests.server.conftest import Running, ask, until
from tests.server.fake_engine import Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def stream(running: Running, **more: Any) -> list[bytes]:
    """The events of a raw stream, each with its blank line."""
    answer = running.http().post("/v1/chat/completions", json=ask(stream=True, **more), headers=AS_ANN)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.content.endswith(b"data: [DONE]\n\n")
    return [event + b"\n\n" for event in answer.content.split(b"\n\n")[:-1]]


def stored(running: Running) -> list[turns.Turn]:
    return running.services.database.read_now(turns.page, ANN)


@pytest.mark.parametrize("split", [None, 1, 7, 100_000])
@pytest.mark.parametrize("n", [1, 3])
def test_all_but_the_last_chunk_are_the_engines_bytes(running: Running, n: int, split: int | None) -> None:
    running.engine.enqueue(Script(split=split))
    events = stream(running, n=n)
    sent = [event + b"\n\n" for event in running.engine.sent[0].split(b"\n\n")[:-1]]
    without_usage = [*sent[:-2], sent[-1]]
    assert len(events) == len(without_usage)
    assert events[:-2] == without_usage[:-2]
    assert events[-1] == without_usage[-1]
    before, _, after = events[-2].partition(b',"attune":')
    assert before + b"}\n\n" == without_usage[-2]
    assert json.loads(after[:-3])["personalized"] == "none"
    assert [turn.answers for turn in stored(running)] == [["Hello world!"] * n]


@pytest.mark.parametrize("split", [None, 1])
def test_with_usage_it_is_the_usage_chunk(running: Running, split: int | None) -> None:
    running.engine.enqueue(Script(split=split))
    events = stream(running, stream_options={"include_usage": True})
    sent = [event + b"\n\n" for event in running.engine.sent[0].split(b"\n\n")[:-1]]
    assert events[:-2] == sent[:-2]
    assert events[-1] == sent[-1]
    assert events[-2].partition(b',"attune":')[0] + b"}\n\n" == sent[-2]
    assert b'"usage":{' in events[-2]


def test_the_official_client_reads_it(running: Running) -> None:
    chunks = list(running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello world!"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["attune"]["adapter_version"] == 0
    assert all("attune" not in (chunk.model_extra or {}) for chunk in chunks[:-1])
    (turn,) = stored(running)
    assert turn.completion_id == chunks[0].id
    assert (turn.prompt_tokens, turn.completion_tokens, turn.partial) == (7, 4, False)


def test_how_long_it_took_is_stored(running: Running) -> None:
    running.engine.enqueue(Script(delay=0.1))
    began = time.perf_counter()
    list(running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN))
    took = (time.perf_counter() - began) * 1000
    running.client().chat.completions.create(**ask(), extra_headers=AS_ANN)
    streamed, whole = (
        running.http().get(f"/v1/turns/{turn.completion_id}?user=ann").json()["timings"] for turn in stored(running)
    )
    assert 0 < streamed["first_token_ms"] < streamed["total_ms"] - 100
    assert streamed["total_ms"] <= took
    assert whole["first_token_ms"] is None
    assert whole["total_ms"] > 0


def test_the_turn_is_stored_before_the_last_chunk(running: Running) -> None:
    for chunk in running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN):
        if chunk.choices[0].finish_reason:
            assert not stored(running)[0].partial
            return
    pytest.fail("no last chunk came")


def test_chunks_are_not_held_back(running: Running) -> None:
    running.engine.enqueue(Script(tokens=["a", "b"], hang=True))
    with running.client().chat.completions.create(**ask(stream=True)) as chunks:
        texts = [next(chunks).choices[0].delta.content for _ in range(3)]
    assert texts == ["", "a", "b"]


def test_text_that_looks_like_the_protocol_passes(running: Running) -> None:
    tokens = ['"finish_reason":"stop"', '"choices":[]', "data: [DONE]\n\n", "\r\n\r\n", 'data: {"error"', "\u2028é"]
    running.engine.enqueue(Script(tokens=tokens))
    chunks = list(running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(tokens)
    assert [turn.answers for turn in stored(running)] == [["".join(tokens)]]


def test_a_client_that_leaves_aborts_the_generation(running: Running) -> None:
    running.engine.enqueue(Script(tokens=["a", "b"], hang=True))
    with running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN) as chunks:
        for _ in range(3):
            next(chunks)
    assert running.engine.aborted.wait(5)
    (turn,) = until(lambda: stored(running))
    assert (turn.answers, turn.partial, turn.completion_tokens) == (["ab"], True, 2)


def test_a_client_that_leaves_at_once_leaves_nothing_behind(running: Running) -> None:
    for _ in range(5):
        running.engine.enqueue(Script(hang=True, tokens=[]))
        with running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN):
            pass
    assert running.engine.aborted.wait(5)
    assert running.http().get("/health").status_code == 200
    until(lambda: len(running.engine.requests) == 5)


@pytest.mark.parametrize("die_after", [0, 1, 3, 5])
def test_the_engine_dies_in_the_middle(running: Running, die_after: int) -> None:
    running.engine.enqueue(Script(die_after=die_after))
    texts: list[str] = []
    chunks = running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN)
    with pytest.raises(openai.APIError) as raised:
        texts.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    said = "".join(texts)
    assert raised.value.code == "engine_unavailable"
    assert "Hello world!".startswith(said)
    if die_after:  # it is stored after the error was sent
        until(lambda: stored(running))
    assert [(turn.answers, turn.partial) for turn in stored(running)] == ([([said], True)] if die_after else [])


def test_an_error_event_of_the_engine_is_passed_on(running: Running) -> None:
    running.engine.enqueue(Script(error_event=True))
    with pytest.raises(openai.APIError, match="EngineCore died"):
        list(running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN))
    (turn,) = until(lambda: stored(running))
    assert turn.partial


def test_a_stream_the_engine_refuses_is_an_ordinary_error(running: Running) -> None:
    running.engine.enqueue(Script(status=400, error="max_tokens is too large", param="max_tokens"))
    with pytest.raises(openai.BadRequestError) as raised:
        running.client().chat.completions.create(**ask(stream=True, max_tokens=10**6))
    assert raised.value.param == "max_tokens"
    assert "too large" in str(raised.value)


def test_an_erased_user_is_not_made_anew_by_a_partial_turn(running: Running) -> None:
    running.engine.enqueue(Script(tokens=["a"], hang=True))
    with running.client().chat.completions.create(**ask(stream=True), extra_headers=AS_ANN) as chunks:
        next(chunks)
        assert running.http().delete("/v1/users/ann").status_code == 200
    assert running.engine.aborted.wait(5)
    time.sleep(0.2)
    assert running.services.database.read_now(users.get, ANN) is None
