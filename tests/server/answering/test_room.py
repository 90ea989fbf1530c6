"""A prompt that is near the end of what the engine can read: preferences give way, the request is answered."""

from typing import Any

import pytest

from server.answering.room import ANSWER, SHORT, TEMPLATE, bound, prompt_bytes
from tests.server.conftest import Running, ask
from tests.server.dialects.test_chat import AS_ANN, state
from tests.server.fake_engine import Script, rendered

STATED = [f"Wish number {number}: say it in plain words that everybody here understands" for number in range(12)]


@pytest.fixture
def stated(running: Running) -> Running:
    for text in STATED:
        state(running, text)
    return running


def tokens(body: dict[str, Any]) -> int:
    return len(rendered(body["messages"], True))


def long(words: int) -> str:
    return "Write an email to Ann about: " + "word " * words


def answered(running: Running, text: str, **more: Any) -> dict[str, Any]:
    answer = running.http().post("/v1/chat/completions", json=ask(text, **more), headers=AS_ANN)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()["attune"]
    return told


def test_a_short_prompt_is_never_counted(stated: Running) -> None:
    told = answered(stated, "Write an email to Ann")
    assert len(told["preferences"]) == 12
    assert "preferences_left_out" not in told
    assert stated.engine.counted == 0


def test_a_long_prompt_keeps_the_preferences_that_leave_room_for_an_answer(stated: Running) -> None:
    whole = tokens(ask(long(3000)))
    stated.engine.context = whole + ANSWER + 120
    told = answered(stated, long(3000))
    assert told["preferences_left_out"] == 12 - len(told["preferences"])
    assert 0 < len(told["preferences"]) < 12
    assert [p["text"] for p in told["preferences"]] == STATED[: len(told["preferences"])]
    (sent,) = stated.engine.requests  # nothing was refused
    assert tokens(sent) + ANSWER <= stated.engine.context
    assert answered(stated, long(3000), max_tokens=10).get("preferences_left_out", 0) < told["preferences_left_out"]


def test_a_prompt_that_fits_by_count_keeps_all(stated: Running) -> None:
    stated.engine.context = 10_000
    assert "preferences_left_out" not in answered(stated, long(3000))
    assert stated.engine.counted == 1
    assert len(long(3000)) > 3 * SHORT
    answered(stated, long(3000))  # now it is known that this is short for the engine
    assert stated.engine.counted == 1


@pytest.mark.parametrize("written", [False, True])
def test_tools_take_what_the_chat_template_makes_of_them(stated: Running, written: bool) -> None:
    """Chat UIs send thousands of tokens of them, and not every template writes them."""
    function = {"name": "look", "description": "to be looked up " * 300, "parameters": {"type": "object"}}
    stated.engine.writes_tools, stated.engine.context = written, 1500
    told = answered(stated, "Write an email to Ann", tools=[{"type": "function", "function": function}])
    assert stated.engine.counted == 1
    assert ("preferences_left_out" in told) == written


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused_for_its_length_is_asked_again_without_preferences(stated: Running, stream: bool) -> None:
    stated.engine.counts = False
    stated.engine.context = tokens(ask(long(3000))) + 20
    answer = stated.http().post("/v1/chat/completions", json=ask(long(3000), stream=stream), headers=AS_ANN)
    assert answer.status_code == 200
    assert '"preferences":[]' in answer.text
    assert '"preferences_left_out":12' in answer.text
    first, second = stated.engine.requests
    assert STATED[0] in first["messages"][-1]["content"]
    assert second["messages"] == ask(long(3000))["messages"]


def test_what_is_too_long_by_itself_is_refused_once_more_and_then_told(stated: Running) -> None:
    stated.engine.counts = False
    stated.engine.context = 500
    answer = stated.http().post("/v1/chat/completions", json=ask(long(3000)), headers=AS_ANN)
    assert answer.status_code == 400
    assert "maximum context length" in answer.json()["error"]["message"]
    assert len(stated.engine.requests) == 2


def test_another_refusal_is_not_asked_again(stated: Running) -> None:
    stated.engine.enqueue(Script(status=400, error="temperature must be a number", param="temperature"))
    answer = stated.http().post("/v1/chat/completions", json=ask(), headers=AS_ANN)
    assert answer.status_code == 400
    assert len(stated.engine.requests) == 1


def test_what_a_request_may_take_at_most() -> None:
    def at_most(context: int | None, **sent: Any) -> tuple[int, dict[str, Any]]:
        payload = {"messages": [{"role": "user", "content": "é" * 50}], **sent}
        return bound("/v1/chat/completions", payload, 1000, context), payload

    prompt = prompt_bytes({"messages": [{"role": "user", "content": "é" * 50}]})
    assert prompt > 2 * 50 + TEMPLATE  # no fewer than its tokens can be
    assert at_most(8192, max_tokens=10)[0] == prompt + 10
    assert at_most(8192, max_completion_tokens=10, n=3)[0] == prompt + 30
    assert at_most(8192)[1]["max_tokens"] == 1000
    assert at_most(None)[0] == prompt + 1000
    short, payload = at_most(1024)
    assert short == 1024  # and an answer is not made longer than the model bears
    assert "max_tokens" not in payload
    assert at_most(1024, max_tokens=5000)[0] == 1024
    assert at_most(1024, n=2)[0] == 2048
