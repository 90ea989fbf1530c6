"""What users of other servers reported of conversations that go on: each test names the thread that told of it."""

from typing import Any

import pytest

from tests.server.conftest import Running, ask
from tests.server.dialects.test_dialects import CHAT, MESSAGES, RESPONSES, post


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


def test_what_is_added_makes_no_second_system_message(running: Running) -> None:
    """Templates refuse it: vllm-project/vllm#44505, pydantic/pydantic-ai#5812, suitenumerique/conversations#197."""
    for roles, heads in (
        (["system", "system", "user"], 2),
        (["developer", "user"], 1),
        (["user"], 1),
        (["system", "user", "assistant", "user"], 1),
    ):
        messages = [{"role": role, "content": f"{role} says"} for role in roles]
        assert (
            post(running, CHAT, messages=messages, attune={"values": [{"preference": "Be brief"}]}).status_code == 200
        )
        sent = [message["role"] for message in running.engine.requests[-1]["messages"]]
        assert sum(role in ("system", "developer") for role in sent) == heads
        assert all(role in ("system", "developer") for role in sent[:heads])
