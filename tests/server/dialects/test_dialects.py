"""The engine's other routes: completions, responses and Anthropic's messages, personal like chat."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from store import turns
from store.owner import Owner
from tests.server.conftest import Running, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import MODEL, Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}
SAID = "Hello world!"
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x"}}


@dataclass(frozen=True)
class Dialect:
    """How a client asks on one route, and where the pieces are."""

    path: str
    ask: Callable[..., dict[str, Any]]
    prompt: Callable[[dict[str, Any]], str]
    """All text of a forwarded body that the model reads."""
    keys: set[str]
    """What the smallest request is forwarded as."""


def _texts(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _completion(text: str = "Write an email to Ann", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": text, **more}


def _response(text: str = "Write an email to Ann", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": text, **more}


def _message(text: str = "Write an email to Ann", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": text}], **more}


CHAT = Dialect(
    "/v1/chat/completions",
    ask,
    lambda sent: "\n".join(_texts(m["content"]) for m in sent["messages"]),
    {"model", "messages", "cache_salt"},
)
COMPLETIONS = Dialect("/v1/completions", _completion, lambda sent: sent["prompt"], {"model", "prompt", "cache_salt"})
RESPONSES = Dialect(
    "/v1/responses",
    _response,
    lambda sent: f"{sent.get('instructions')}\n{_texts(sent['input'])}",
    {"model", "input", "cache_salt", "store"},
)
MESSAGES = Dialect(
    "/v1/messages",
    _message,
    lambda sent: f"{sent.get('system')}\n" + "\n".join(_texts(m["content"]) for m in sent["messages"]),
    {"model", "messages", "max_tokens", "cache_salt"},
)
DIALECTS = [CHAT, COMPLETIONS, RESPONSES, MESSAGES]
every = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.path)
NAMED = pytest.mark.parametrize("dialect", [RESPONSES, MESSAGES], ids=lambda dialect: dialect.path)


def post(running: Running, dialect: Dialect, **more: Any) -> Any:
    return running.http().post(dialect.path, json=dialect.ask(**more), headers=AS_ANN)


def refused(running: Running, dialect: Dialect, **more: Any) -> dict[str, Any]:
    answer = post(running, dialect, **more)
    assert answer.status_code == 400, answer.text
    assert running.engine.requests == []
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


def prefer(running: Running, text: str = "Use bullets") -> str:
    made = running.http().post("/v1/users/ann/preferences", json={"text": text, "context": "Write an email to Ann"})
    return str(made.json()["id"])


def stored(running: Running) -> list[turns.Turn]:
    return running.services.database.read_now(turns.page, ANN)


@every
def test_a_whole_answer_is_the_engines_own_bytes_plus_attune(running: Running, dialect: Dialect) -> None:
    answer = post(running, dialect)
    assert answer.status_code == 200
    before, _, after = answer.content.partition(b',"attune":')
    assert before + b"}" == running.engine.sent[0]
    assert json.loads(after[:-1])["personalized"] == "none"
    (turn,) = stored(running)
    assert (turn.answers, turn.completion_id) == ([SAID], answer.json()["id"])
    assert (turn.prompt_tokens, turn.completion_tokens, turn.partial) == (7, 4, False)
    assert turn.request[-1] == {"role": "user", "content": "Write an email to Ann"}


@every
@pytest.mark.parametrize("stream", [False, True])
def test_values_and_preferences_enter_the_prompt(running: Running, dialect: Dialect, stream: bool) -> None:
    id = prefer(running)
    wish = {"values": [{"preference": "Be brief"}]}
    answer = post(running, dialect, attune=wish, stream=stream)
    (sent,) = running.engine.requests
    prompt = dialect.prompt(sent)
    assert "- Be brief" in prompt
    assert "- Use bullets" in prompt
    assert prompt.count("Write an email to Ann") == 1
    assert f'"preferences":[{{"id":"{id}"' in answer.text
    (turn,) = stored(running)
    assert [applied["id"] for applied in turn.applied_preferences] == [id]
    assert [message["content"] for message in turn.request] == ["Write an email to Ann"]
    for message in turn.prompt:
        assert message["content"] in prompt
    assert turn.personalized == "retrieval"


@every
def test_an_edit_of_it_is_accepted(running: Running, dialect: Dialect) -> None:
    answer = post(running, dialect).json()
    edit = {"type": "edit", "completion_id": answer["id"], "edited_text": "Hello there"}
    sent = running.http().post("/v1/feedback", json=edit, headers=AS_ANN)
    assert sent.status_code == 202
    assert sent.json()["cost"] > 0


@every
@pytest.mark.parametrize("split", [None, 1, 7])
def test_a_stream_is_the_engines_bytes_but_for_the_last_event(
    running: Running, dialect: Dialect, split: int | None
) -> None:
    running.engine.enqueue(Script(split=split))
    options = {"stream_options": {"include_usage": True}} if dialect in (CHAT, COMPLETIONS) else {}
    got = post(running, dialect, stream=True, **options)
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    before, _, after = got.content.partition(b',"attune":')
    attune, rest = json.JSONDecoder().raw_decode(after.decode())
    assert attune["personalized"] == "none"
    assert before + after[rest:] == running.engine.sent[0]
    (turn,) = stored(running)
    assert (turn.answers, turn.partial) == ([SAID], False)
    assert (turn.prompt_tokens, turn.completion_tokens) == (7, 4)


@every
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", [False, True])
def test_no_name_of_ours_comes_back_however_the_engine_spells_its_json(
    running: Running, dialect: Dialect, stream: bool, usage: bool, tmp_path: Path
) -> None:
    publish(running, 1, "retrieval+adapter", tmp_path)
    assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
    (name,) = running.engine.adapters
    running.engine.respells = True
    wish: dict[str, Any] = {"attune": {"values": [{"preference": "Be brief"}]}}
    wish |= {"metadata": {"a": "b"}} if dialect is RESPONSES else {}
    wish |= {"stream_options": {"include_usage": True}} if stream and usage and dialect in (CHAT, COMPLETIONS) else {}
    running.engine.enqueue(Script(tokens=["\u2028a-b", f' {{"model": "{name}"}}']))
    got = post(running, dialect, stream=stream, **wish)
    assert running.engine.requests[0]["model"] == name
    said = f'\u2028a-b {{"model": "{name}"}}'
    events = ["".join(re.findall("^data:(.*)$", event, re.MULTILINE)) for event in got.text.split("\n\n")[:-1]]
    events = events if stream else [got.text]
    read = [json.loads(event) for event in events if event.strip() != "[DONE]"]
    assert [one["attune"]["adapter_version"] for one in read if "attune" in one] == [1]
    assert "attune" in read[-1]
    told = json.dumps([{**one, "attune": ""} for one in read])
    named = re.findall(r'(?<!\\)"model": "([^"]*)"', told)
    assert set(named) == {MODEL}
    assert "<values>" not in told
    if dialect is RESPONSES:
        assert set(re.findall('"metadata": {([^}]*)}', told)) == {'"a": "b"'}
    (turn,) = stored(running)
    assert (turn.answers, turn.partial, turn.adapter_version) == ([said], False, 1)
    assert (turn.prompt_tokens, turn.completion_tokens) == (7, 2)


@every
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_names_no_adapter(running: Running, dialect: Dialect, stream: bool, tmp_path: Path) -> None:
    publish(running, 1, "adapter", tmp_path)
    assert running.http().post("/v1/users/ann/adapters/1/activate").status_code == 200
    (name,) = running.engine.adapters
    running.engine.enqueue(Script(status=400, error=f"The model `{name}` cannot do that."))
    answer = post(running, dialect, stream=stream)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"The model `{MODEL}` cannot do that.")


@every
def test_an_error_event_ends_a_stream_however_it_is_spelled(running: Running, dialect: Dialect) -> None:
    running.engine.respells = True
    running.engine.enqueue(Script(error_event=True))
    got = post(running, dialect, stream=True).text
    assert got.count("EngineCore died") == 1
    assert "engine_unavailable" not in got


@every
def test_a_client_that_leaves_aborts_and_leaves_a_partial_turn(running: Running, dialect: Dialect) -> None:
    running.engine.enqueue(Script(tokens=["a", "b"], hang=True))
    with running.http().stream("POST", dialect.path, json=dialect.ask(stream=True), headers=AS_ANN) as answer:
        seen = b""
        for part in answer.iter_bytes():
            seen += part
            if b'"b"' in seen:
                break
    assert running.engine.aborted.wait(5)
    (turn,) = until(lambda: stored(running))
    assert (turn.answers, turn.partial, turn.completion_tokens) == (["ab"], True, 2)


@every
def test_an_engine_that_dies_ends_the_stream_with_an_error(running: Running, dialect: Dialect) -> None:
    running.engine.enqueue(Script(die_after=3))
    got = post(running, dialect, stream=True).text
    assert '"code":"engine_unavailable"' in got.rstrip().removesuffix("data: [DONE]")
    assert until(lambda: stored(running))[0].partial


@every
def test_an_error_event_passes_once(running: Running, dialect: Dialect) -> None:
    running.engine.enqueue(Script(error_event=True))
    got = post(running, dialect, stream=True).text
    assert got.count('"error":') == 1
    assert "EngineCore died" in got
    assert until(lambda: stored(running))[0].partial


@every
def test_only_declared_fields_are_forwarded(running: Running, dialect: Dialect) -> None:
    about_the_user = {"safety_identifier": "ann", "user": "ann", "store": True, "prompt_cache_key": "k"}
    post(running, dialect, **about_the_user)
    assert set(running.engine.requests[0]) == dialect.keys


@every
@pytest.mark.parametrize(
    "field", ["cache_salt", "chat_template", "lora_request", "vllm_xargs", "request_id", "priority"]
)
def test_unknown_fields_are_refused_by_name(running: Running, dialect: Dialect, field: str) -> None:
    assert refused(running, dialect, **{field: "x"})["param"] == field


@every
def test_another_model_is_not_found(running: Running, dialect: Dialect) -> None:
    answer = post(running, dialect, model="other")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@every
@pytest.mark.parametrize("how", [{"store": False}, {"attune": {"store": False}}, {"attune": {"personalize": "off"}}])
def test_nothing_is_written_when_it_must_not_be(running: Running, dialect: Dialect, how: dict[str, Any]) -> None:
    assert post(running, dialect, **how).status_code == 200
    assert stored(running) == []
    assert running.http().get("/v1/users/ann/values").status_code == 404


@every
def test_feedback_on_an_answer_that_is_still_streamed_is_a_conflict(running: Running, dialect: Dialect) -> None:
    """Its turn is stored at its end: not found would say that it never will be."""
    running.engine.enqueue(Script(tokens=["a", "b"], hang=True))
    body = {"type": "edit", "edited_text": "Hello there"}
    with running.http().stream("POST", dialect.path, json=dialect.ask(stream=True), headers=AS_ANN) as answer:
        seen, parts = b"", answer.iter_raw()
        while b'"b"' not in seen:
            seen += next(parts)
        id = re.search(r'"id":"((?:chatcmpl|cmpl|resp)[^"]+)"', seen.decode())
        assert id is not None
        sent = running.http().post("/v1/feedback", json={**body, "completion_id": id[1]}, headers=AS_ANN)
        assert (sent.status_code, sent.json()["error"]["param"]) == (409, "completion_id")
        of_bob = running.http().post("/v1/feedback", json={**body, "completion_id": id[1], "user": "bob"})
        assert of_bob.status_code == 404
    until(lambda: stored(running))
    sent = running.http().post("/v1/feedback", json={**body, "completion_id": id[1]}, headers=AS_ANN)
    assert sent.status_code == 202


def test_one_conversation_is_the_same_turn_on_each_route(running: Running) -> None:
    """What is learned from an edit does not depend on the route that the draft came by."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Thanks"},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Look."}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "it"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
        {"role": "user", "content": "Thanks"},
    ]
    blocks = [
        {"role": "user", "content": [{"type": "text", "text": "Look.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "it"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a cat"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "Thanks"},
    ]
    values = {"attune": {"values": [{"preference": "Be brief"}]}}
    for dialect, body in (
        (CHAT, {"messages": chat}),
        (RESPONSES, {"input": items, "instructions": "Be kind."}),
        (MESSAGES, {"messages": blocks, "system": [{"type": "text", "text": "Be kind."}]}),
    ):
        assert post(running, dialect, **body, **values).status_code == 200
    chats, responses, messages = stored(running)
    assert list(chats.request) == chat
    assert chats.request == responses.request == messages.request
    assert chats.prompt == responses.prompt == messages.prompt
    assert "cache_control" not in json.dumps(running.engine.requests)


def test_a_response_repeats_the_callers_instructions_not_ours(running: Running) -> None:
    values = {"attune": {"values": [{"preference": 'Say "é"'}]}}
    for instructions in ({}, {"instructions": "Be kind."}):
        for stream in (False, True):
            got = post(running, RESPONSES, **instructions, **values, stream=stream).text
            assert "<values>" not in got.partition(',"attune":')[0]
            expected = json.dumps(instructions.get("instructions"))
            assert f'"instructions":{expected}' in got
    assert all("<values>" in sent["instructions"] for sent in running.engine.requests)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "tools.0.type"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
            "input.0.content.0",
        ),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [{"role": "user"}]}, "input"),
        ({"include": ["file_search_call.results"]}, "include.0"),
        ({"top_logprobs": 20}, "top_logprobs"),
    ],
)
def test_what_a_response_may_not_ask_for(running: Running, body: dict[str, Any], param: str) -> None:
    assert refused(running, RESPONSES, **body)["param"].startswith(param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools.0.type"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages.0.content.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [IMAGE]}]}]},
            "messages.0.content.0.content.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
    ],
)
def test_what_a_message_may_not_ask_for(running: Running, body: dict[str, Any], param: str) -> None:
    assert refused(running, MESSAGES, **body)["param"].startswith(param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"n": 5}, "n"),
        ({"logprobs": 6}, "logprobs"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ],
)
def test_what_a_completion_may_not_ask_for(running: Running, body: dict[str, Any], param: str) -> None:
    assert refused(running, COMPLETIONS, **body)["param"] == param


def test_the_openai_client_reads_completions_and_responses(running: Running) -> None:
    client = running.client(default_headers=AS_ANN)
    assert client.completions.create(**_completion()).choices[0].text == SAID
    assert (
        "".join(c.choices[0].text for c in client.completions.create(**_completion(stream=True)) if c.choices) == SAID
    )
    answer = client.responses.create(**_response(), extra_body={"attune": {"k": 3}})
    assert answer.output_text == SAID
    assert answer.model_extra is not None
    assert answer.model_extra["attune"]["personalized"] == "none"
    with client.responses.stream(**_response()) as stream:
        assert "".join(e.delta for e in stream if e.type == "response.output_text.delta") == SAID
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.responses.create(**_response(temperature=9))
    running.engine.enqueue(Script(die_after=3))
    with pytest.raises(openai.APIError, match="stopped in the middle"):
        list(client.responses.create(**_response(stream=True)))


def test_the_anthropic_client_reads_messages(running: Running) -> None:
    with anthropic.Anthropic(base_url=running.url, api_key="none", max_retries=0) as client:
        answer = client.messages.create(**_message(), metadata={"user_id": "ann"})
        assert answer.content[0].type == "text"
        assert answer.content[0].text == SAID
        with client.messages.stream(**_message()) as stream:
            assert "".join(stream.text_stream) == SAID
            assert stream.get_final_message().usage.output_tokens == 4
        with pytest.raises(anthropic.BadRequestError, match="temperature"):
            client.messages.create(**_message(), extra_body={"temperature": 9})
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(**_message() | {"model": "other"})
        running.engine.enqueue(Script(die_after=3))
        with pytest.raises(anthropic.APIStatusError, match="stopped in the middle"):
            list(client.messages.create(**_message(), stream=True))
    assert [turn.answers for turn in stored(running)] == [[SAID]]
