"""Fields that current clients send: accepted where they have no effect, or passed on."""

from typing import Any

import pytest

from tests.server.conftest import Running
from tests.server.dialects.test_dialects import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Dialect, post

WITHOUT_EFFECT: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"verbosity": "low"}),
    (CHAT, {"prompt_cache_retention": "24h", "prompt_cache_key": "k", "prompt_cache_options": {"ttl": "1h"}}),
    (CHAT, {"functions": [], "function_call": None}),
    (CHAT, {"prediction": {"type": "content", "content": "Dear Ann"}, "modalities": ["text"], "audio": None}),
    (RESPONSES, {"prompt_cache_retention": "24h", "background": None, "conversation": None, "prompt": None}),
    (MESSAGES, {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}),
    (MESSAGES, {"inference_geo": "eu", "speed": "standard", "service_tier": "auto", "container": None}),
]


@pytest.mark.parametrize(
    ("dialect", "fields"), WITHOUT_EFFECT, ids=lambda given: getattr(given, "path", None) or ",".join(given)
)
def test_what_has_no_effect_is_accepted(running: Running, dialect: Dialect, fields: dict[str, Any]) -> None:
    answer = post(running, dialect, **fields)
    assert answer.status_code == 200, answer.text
    assert set(running.engine.requests[0]) == dialect.keys


def test_what_agents_include_of_a_response_is_passed_on(running: Running) -> None:
    """OpenAI's agents ask for it wherever nothing is stored."""
    include = ["reasoning.encrypted_content"]
    assert post(running, RESPONSES, include=include, store=False).status_code == 200
    assert running.engine.requests[0]["include"] == include


def test_what_anthropics_agents_say_of_tools_is_accepted(running: Running) -> None:
    tool = {"name": "look", "input_schema": {"type": "object"}, "defer_loading": True, "eager_input_streaming": True}
    tool |= {"input_examples": [{}], "allowed_callers": ["direct"], "cache_control": {"type": "ephemeral"}}
    assert post(running, MESSAGES, tools=[tool]).status_code == 200
    assert running.engine.requests[0]["tools"] == [{"name": "look", "input_schema": {"type": "object"}}]


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS], ids=lambda dialect: dialect.path)
def test_several_greedy_answers_are_asked_for_as_vllm_takes_them(running: Running, dialect: Dialect) -> None:
    assert len(post(running, dialect, n=2, temperature=0).json()["choices"]) == 2
    sent = running.engine.requests[0]
    assert (sent["n"], sent["temperature"], sent["top_k"]) == (2, 1.0, 1)
    post(running, dialect, temperature=0)
    assert running.engine.requests[1]["temperature"] == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["audio"]}, "modalities.0"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(running: Running, fields: dict[str, Any], param: str) -> None:
    answer = post(running, CHAT, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
