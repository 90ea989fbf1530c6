"""What users of other servers reported, tried here: each test names the thread that told of it."""

import codecs
import json
from typing import Any

import httpx
import pytest

from tests.server.conftest import Running, ask
from tests.server.fake_engine import Script
from tests.server.test_dialects import AS_ANN, CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect, post, stored

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


def test_a_user_that_is_left_out_is_nobody(running: Running) -> None:
    """The other side of it: two slashes there are a mistake that must not name somebody else."""
    running.http().put("/v1/users/export/values", json={"values": []})
    for path in ("/v1/users//export", "/v1/users/"):
        assert running.http().delete(running.url + path).status_code in (400, 404, 405)
    assert running.http().get("/v1/users/export/values").status_code == 200


@every
def test_line_ends_of_unicode_do_not_end_a_line_of_a_stream(running: Running, dialect: Dialect) -> None:
    """Clients end: openai/openai-python#1230, langgenius/dify#39008, modelcontextprotocol/typescript-sdk#1926."""
    said = ["a\u2028b", "\u2029", "c\u0085d"]
    running.engine.enqueue(Script(tokens=said))
    values = [{"preference": "Be brief", "description": "Two\u2028lines"}]
    got = post(running, dialect, stream=True, attune={"values": values})
    assert not set("\u0085\u2028\u2029") & set(got.text)
    for line in got.text.splitlines():
        if line.startswith("data: {"):
            json.loads(line.removeprefix("data: "))
    assert stored(running)[0].answers == ["".join(said)]


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


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": None, "tool_calls": None, "reasoning_content": "..."},
        {"role": "assistant", "content": "Hi", "tool_calls": []},
        {"role": "assistant", "content": []},
        {"role": "assistant"},
    ],
    ids=str,
)
def test_an_empty_answer_does_not_spoil_the_conversation(running: Running, message: dict[str, Any]) -> None:
    """tashfeenahmed/freellmapi#165 and #232, defilantech/LLMKube#935, vllm-project/vllm#12937."""
    history = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "Go on"}]
    assert post(running, CHAT, messages=history).status_code == 200
    assert "tool_calls" not in running.engine.requests[0]["messages"][1]


def test_an_empty_answer_of_the_other_routes_does_not_either(running: Running) -> None:
    """anthropics/anthropic-sdk-java#260."""
    first, then = {"role": "user", "content": "Hi"}, {"role": "user", "content": "Go on"}
    said = {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete", "content": []}
    assert post(running, RESPONSES, input=[first, said, then]).status_code == 200
    assert post(running, MESSAGES, messages=[first, {"role": "assistant", "content": []}, then]).status_code == 200


def test_what_proxies_echo_of_an_assistant_is_dropped(running: Running) -> None:
    """diegosouzapw/OmniRoute#4350, epam/statgpt-backend#676, sashirestela/simple-openai#212."""
    echoed: dict[str, Any] = {
        "annotations": [{"type": "url_citation"}],
        "audio": None,
        "provider_specific_fields": {"refusal": None},
    }
    echoed |= {"custom_content": {"annotations": []}, "cache_control": {"type": "ephemeral"}, "reasoning_details": []}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", **echoed},
        *ask()["messages"],
    ]
    assert post(running, CHAT, messages=history).status_code == 200
    assert running.engine.requests[0]["messages"][1] == {"role": "assistant", "content": "Hello"}
