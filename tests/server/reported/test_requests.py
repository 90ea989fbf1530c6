"""What users of other servers reported of requests that were refused: each test names the thread that told of it."""

import codecs
import json
from typing import Any

import httpx
import pytest

from tests.server.conftest import Running, ask
from tests.server.dialects.test_dialects import AS_ANN, CHAT, DIALECTS, RESPONSES, Dialect, post

JSON = {**AS_ANN, "Content-Type": "application/json"}
every = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)


def test_an_empty_list_of_tools_is_none(running: Running) -> None:
    """vllm-project/vllm#39780 refuses it; agents fail: BerriAI/litellm#31522, evalstate/fast-agent#781."""
    fields = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    assert post(running, CHAT, **fields).status_code == 200
    assert set(running.engine.requests[0]) == CHAT.keys


@every
def test_a_byte_order_mark_is_none_of_the_body(running: Running, dialect: Dialect) -> None:
    """PowerShell and .NET send one: mindroom-ai/mindroom#1257, dolmens/gptel-aibo#17."""
    body = codecs.BOM_UTF8 + json.dumps(dialect.ask()).encode()
    assert running.http().post(dialect.path, content=body, headers=JSON).status_code == 200


def test_a_byte_order_mark_before_feedback(running: Running) -> None:
    """The same where FastAPI parses."""
    id = post(running, CHAT).json()["id"]
    body = {"type": "edit", "completion_id": id, "edited_text": "Better"}
    sent = codecs.BOM_UTF8 + json.dumps(body).encode()
    assert running.http().post("/v1/feedback", content=sent, headers=JSON).status_code == 202


@pytest.mark.parametrize(
    "path",
    [
        *("/v1//chat/completions", "//v1/chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions"),
        "/v1/chat//completions/",
    ],
)
def test_a_base_url_with_a_slash_or_a_version_too_many(running: Running, path: str) -> None:
    """BerriAI/litellm#8350, sigoden/aichat#767, OpenHands/OpenHands#6836, rohitg00/agentmemory#628."""
    url = httpx.URL(running.url + path)
    assert running.http().post(url, json=ask(), headers=AS_ANN).status_code == 200
    assert running.http().get(running.url + "/v1//models/").status_code == 200


@every
def test_a_body_that_is_not_utf_8_is_told_so(running: Running, dialect: Dialect) -> None:
    """PowerShell 5 sends Latin-1: dfinke/PowerShellAI#119, yzwijsen/chatgpt-powershell#4."""
    body = json.dumps(dialect.ask("Hola, se\u00f1or"), ensure_ascii=False).encode("latin-1")
    answer = running.http().post(dialect.path, content=body, headers=JSON)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_a_control_character_in_a_string_is_told_with_its_place(running: Running) -> None:
    """kdalanon/ChatGPT-AutoHotkey-Utility#14: a pasted tab, and an error that did not say so."""
    body = json.dumps(ask("a@b")).replace("@", "\t")
    error = running.http().post(CHAT.path, content=body, headers=JSON).json()["error"]
    assert "control character" in error["message"]
    assert "column" in error["message"]


FUNCTION: dict[str, Any] = {"name": "now", "description": "The time."}


def test_a_field_that_is_null_is_not_sent(running: Running) -> None:
    """vllm-project/vllm#19862 (a 500 at max_tokens: null), getumbrel/llama-gpt#113, OpenBMB/ChatDev#344."""
    for dialect in DIALECTS:
        schema = running.http().get("/openapi.json").json()
        asked = schema["paths"][dialect.path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        declared = schema["components"]["schemas"][asked.rpartition("/")[2]]["properties"]
        optional = {name: None for name in declared if name not in dialect.ask() and name != "attune"}
        assert len(optional) > 10
        for stream in (None, True):
            running.engine.requests.clear()
            body = {**dialect.ask(), **optional, "stream": stream}
            answer = running.http().post(dialect.path, json=body, headers=AS_ANN)
            assert answer.status_code == 200, answer.text
            assert running.engine.requests[0].keys() <= dialect.keys | {"stream", "stream_options"}


def test_a_tool_without_parameters_goes_on_as_it_is(running: Running) -> None:
    """run-llama/llama_index#18928, lmstudio-ai/lmstudio-bug-tracker#2254, agno-agi/agno#5844."""
    functions: list[dict[str, Any]] = [
        {},
        {"parameters": {}},
        {"parameters": {"type": "object", "properties": {}}, "requires_confirmation": False, "strict": None},
    ]
    for function in functions:
        tool = {"type": "function", "function": FUNCTION | function}
        assert post(running, CHAT, tools=[tool]).status_code == 200
        assert running.engine.requests[-1]["tools"] == [tool]
        flat = {"type": "function", **FUNCTION, **function}
        assert post(running, RESPONSES, tools=[flat]).status_code == 200
        assert running.engine.requests[-1]["tools"] == [flat]


def test_a_choice_among_no_tools_is_none(running: Running) -> None:
    """vLLM refuses it: camel-ai/camel#1585, vllm-project/vllm#9426."""
    for choice in ("none", "auto", None):
        assert post(running, CHAT, tool_choice=choice, parallel_tool_calls=False).status_code == 200
        assert set(running.engine.requests[-1]) == CHAT.keys
        assert post(running, CHAT, tool_choice="required").status_code == 200
        assert running.engine.requests[-1]["tool_choice"] == "required"  # a mistake that the engine tells


def test_a_whole_number_is_a_number(running: Running) -> None:
    """ai-forever/gigachain#237: a 0 that was to be a 0.0."""
    for dialect in DIALECTS:
        assert post(running, dialect, temperature=0, top_p=1).status_code == 200
        sent = running.engine.requests[-1]
        assert (sent["temperature"], sent["top_p"]) == (0, 1)
