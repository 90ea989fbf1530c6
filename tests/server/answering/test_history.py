"""What the server answered it takes back as history, on every route, as each client holds it."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

from tests.server.conftest import Running, ask
from tests.server.dialects.test_dialects import AS_ANN, CHAT, MESSAGES, RESPONSES, Dialect, post
from tests.server.fake_engine import MODEL, Script

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
ANY = st.none() | st.booleans() | st.integers(-9, 9) | TEXT | st.lists(TEXT, max_size=2) | st.dictionaries(TEXT, TEXT)
KNOWN = {
    *("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning", "reasoning_content"),
    *("type", "id", "status", "phase", "call_id", "namespace", "arguments", "output", "summary"),
    *("text", "annotations", "logprobs", "tool_use_id", "input", "is_error", "thinking", "signature", "data", "source"),
    *("citations", "cache_control"),
}
MORE = st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=12).filter(lambda name: name not in KNOWN), ANY)
"""Fields that a later engine may add to an answer."""
Item = dict[str, Any]
CALLS = st.lists(st.just(CALL), max_size=2)


@st.composite
def chat_messages(draw: st.DrawFn) -> dict[str, Any]:
    """A message of the engine: a text, calls, reasoning, in any mixture."""
    nulls = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    said = {"content": draw(st.none() | TEXT), "reasoning": draw(st.none() | TEXT), "refusal": draw(st.none() | TEXT)}
    calls = draw(CALLS)
    return {"role": "assistant", **nulls, **said, **({"tool_calls": calls} if calls else {}), **draw(MORE)}


@st.composite
def outputs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The output of a response: reasoning, a text, calls, each or none."""
    part = {"type": "output_text", "text": draw(TEXT), "annotations": [], "logprobs": None, **draw(MORE)}
    refusal = {"type": "refusal", "refusal": draw(TEXT)}
    parts = draw(st.lists(st.sampled_from([part, refusal]), max_size=2))
    reasoning: Item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": None, "status": None}
    thought = {**reasoning, "content": [{"text": draw(TEXT), "type": "reasoning_text"}]}
    message: Item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "phase": None}
    call: Item = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    call |= {"caller": None, "async": None, "namespace": None, "status": "completed"}
    items = draw(st.lists(st.sampled_from([thought, {**message, "content": parts}, call]), max_size=3))
    return [{**item, **draw(MORE)} for item in items]


@st.composite
def contents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The content of an Anthropic message: thoughts, texts, uses of tools."""
    kinds: list[Item] = [
        {"type": "text", "text": draw(TEXT), "citations": None},
        {"type": "thinking", "thinking": draw(TEXT), "signature": ""},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}, "caller": None, "toolset_name": None},
    ]
    return [{**block, **draw(MORE)} for block in draw(st.lists(st.sampled_from(kinds), max_size=3))]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=chat_messages(), output=outputs(), content=contents())
def test_any_answer_is_taken_back(running: Running, message: Any, output: Any, content: Any) -> None:
    for dialect, said in ((CHAT, message), (RESPONSES, output), (MESSAGES, content)):
        running.engine.requests.clear()
        running.engine.enqueue(Script(said=said))
        whole = post(running, dialect).json()
        again = post(running, dialect, **_continued(dialect, whole))
        assert again.status_code == 200, again.text
        sent = json.dumps(running.engine.requests[-1], ensure_ascii=False)
        assert "Go on" in sent
        for text in _texts(said):
            assert json.dumps(text, ensure_ascii=False)[1:-1] in sent


def _continued(dialect: Dialect, answer: dict[str, Any]) -> dict[str, Any]:
    """The next request of the conversation, with the answer as it came."""
    first, then = {"role": "user", "content": "Begin"}, {"role": "user", "content": "Go on"}
    if dialect is RESPONSES:
        return {"input": [first, *answer["output"], then]}
    if dialect is MESSAGES:
        return {"messages": [first, {"role": "assistant", "content": answer["content"]}, then]}
    return {"messages": [first, answer["choices"][0]["message"], then]}


def _texts(said: Any) -> list[str]:
    if isinstance(said, list):
        return [text for one in said for text in _texts(one)]
    inner = [text for part in said.get("content") or () if isinstance(part, dict) for text in _texts(part)]
    content = said.get("content") if isinstance(said.get("content"), str) else None
    return [
        *inner,
        *(text for text in (content, said.get("text"), said.get("thinking"), said.get("reasoning")) if text),
    ]


def test_the_standard_tool_loop_of_openais_client(running: Running) -> None:
    """The loop of OpenAI's own guide, in each form that clients keep a message in (tashfeenahmed/freellmapi#165)."""
    client = running.client(default_headers=AS_ANN)
    tools: Any = [{"type": "function", "function": FUNCTION}]
    forms: tuple[Callable[[ChatCompletionMessage], object], ...] = (
        lambda message: message,
        lambda message: message.model_dump(),
        lambda message: message.to_dict(),
        lambda message: message.model_dump(exclude_none=True),
    )
    for held in forms:
        messages: list[Any] = [{"role": "user", "content": "Look at it"}]
        running.engine.enqueue(Script(tool_calls=[CALL]))
        message = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
        messages.append(held(message))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "a cat"} for call in message.tool_calls or ()]
        messages.append(held(client.chat.completions.create(model=MODEL, messages=messages).choices[0].message))
        messages.append({"role": "user", "content": "Thanks"})
        client.chat.completions.create(model=MODEL, messages=messages)
        sent = running.engine.requests[-1]["messages"]
        assert [m["role"] for m in sent] == ["user", "assistant", "tool", "assistant", "user"]
        assert {"content": None, **sent[1]} == {"role": "assistant", "content": None, "tool_calls": [CALL]}
        assert sent[3] == {"role": "assistant", "content": "Hello world!"}


def test_what_openais_helpers_parse_and_stream_goes_back(running: Running) -> None:
    """``parse`` adds ``parsed`` and ``parsed_arguments`` to what it holds."""
    from pydantic import BaseModel

    class Said(BaseModel):
        hello: str

    client = running.client(default_headers=AS_ANN)
    first: Any = {"role": "user", "content": "Look"}
    then: Any = {"role": "user", "content": "Go on"}
    running.engine.enqueue(Script(tokens=['{"hello"', ':"you"}']))
    message: Any = client.chat.completions.parse(model=MODEL, messages=[first], response_format=Said).choices[0].message
    assert message.parsed == Said(hello="you")
    client.chat.completions.create(model=MODEL, messages=[first, message.model_dump(warnings=False), then])
    with client.chat.completions.stream(model=MODEL, messages=[first]) as stream:
        streamed: Any = stream.get_final_completion().choices[0].message
    client.chat.completions.create(model=MODEL, messages=[first, streamed.model_dump(), then])
    running.engine.enqueue(Script(tokens=['{"hello"', ':"you"}']))
    parsed = client.responses.parse(model=MODEL, input="Look", text_format=Said)
    items: Any = [item.model_dump(warnings=False) for item in parsed.output]
    assert items[0]["content"][0]["parsed"] == {"hello": "you"}
    client.responses.create(model=MODEL, input=[first, *items, then])
    whole: Any = client.responses.create(model=MODEL, input="Look").output
    client.responses.create(model=MODEL, input=[first, *whole, then])
    assert "parsed" not in json.dumps(running.engine.requests)


def test_the_anthropic_client_sends_back_what_it_got(running: Running) -> None:
    """Of this kind: anthropics/anthropic-sdk-java#260."""
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}}
    first: Any = {"role": "user", "content": "Look"}
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a cat"}]}
    with anthropic.Anthropic(base_url=running.url, api_key="none", max_retries=0) as client:
        for held in (
            lambda m: {"role": m.role, "content": m.content},
            lambda m: {"role": m.role, "content": [block.model_dump() for block in m.content]},
            lambda m: m.model_dump(),
        ):
            running.engine.enqueue(Script(said=[{"type": "text", "text": "I look."}, use]))
            answer = client.messages.create(model=MODEL, max_tokens=9, messages=[first])
            held_message: Any = held(answer)
            client.messages.create(model=MODEL, max_tokens=9, messages=[first, held_message, result])
            sent = running.engine.requests[-1]["messages"][1]
            assert sent.keys() == {"role", "content"}
            assert [block["type"] for block in sent["content"]] == ["text", "tool_use"]


def test_what_another_server_calls_reasoning_content_goes_on_as_reasoning(running: Running) -> None:
    told = {"role": "assistant", "content": "A cat.", "reasoning_content": "It has fur."}
    messages = [{"role": "user", "content": "Look"}, told, {"role": "user", "content": "Why?"}]
    assert post(running, CHAT, messages=messages).status_code == 200
    assert running.engine.requests[0]["messages"][1] == {
        "role": "assistant",
        "content": "A cat.",
        "reasoning": "It has fur.",
    }


@pytest.mark.parametrize("role", ["user", "system", "tool"])
def test_a_field_that_is_not_an_answers_is_still_named(running: Running, role: str) -> None:
    told = {"role": role, "content": "x", "contnet": "y"}
    answer = post(running, CHAT, messages=[told, *ask()["messages"]])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages.0.contnet")


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES], ids=lambda dialect: dialect.path)
def test_null_is_no_field(running: Running, dialect: Dialect) -> None:
    asked = post(running, dialect, audio=None, conversation=None, container=None, attune={"strength": None})
    assert asked.status_code == 200, asked.text
    assert set(running.engine.requests[0]) == dialect.keys
