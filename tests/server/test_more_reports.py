"""More of what users of other servers reported, tried here: each test names the thread that told of it."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any
from urllib.parse import quote

from preference import keys
from tests.server.conftest import Running, ask, closed
from tests.server.fake_engine import MODEL, Script
from tests.server.test_dialects import (
    AS_ANN,
    CHAT,
    COMPLETIONS,
    DIALECTS,
    RESPONSES,
    post,
    refused,
    stored,
)

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


def test_no_chunk_without_choices_but_where_usage_was_asked_for(running: Running) -> None:
    """Clients read choices[0] of each: pydantic/pydantic-ai#164, TheR1D/shell_gpt#457, langchain-ai/langchain#24689."""
    for dialect, options in product((CHAT, COMPLETIONS), ({}, {"stream_options": {"include_usage": False}})):
        assert all(chunk["choices"] for chunk in _chunks(post(running, dialect, stream=True, **options).text))
        asked = _chunks(post(running, dialect, stream=True, stream_options={"include_usage": True}).text)
        usage = [chunk for chunk in asked if chunk.get("usage")]
        assert [chunk["choices"] for chunk in usage] == [[]]  # BerriAI/litellm#28735 and #8450
        assert asked[-1] == usage[0]
        assert "attune" in usage[0]


def _chunks(stream: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in stream.split("\n") if line.startswith("data: {")]


def test_the_list_of_models_is_what_other_programs_read(running: Running) -> None:
    """open-webui/open-webui#10212 fails without owned_by; BerriAI/litellm#9982 offers embedders for chat."""
    (model,) = running.http().get("/v1/models").json()["data"]
    assert model.keys() >= {"id", "object", "created", "owned_by"}
    assert (model["id"], model["object"]) == (MODEL, "model")


def test_a_stream_tells_proxies_not_to_gather_it(running: Running) -> None:
    """ggml-org/llama.cpp#20872, theopenconversationkit/tock#1895, xorbitsai/xagent#1358."""
    for dialect in DIALECTS:
        headers = post(running, dialect, stream=True).headers
        assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-cache")


def test_what_fails_before_the_first_event_has_a_status(running: Running) -> None:
    """ggml-org/llama.cpp#14566, BerriAI/litellm#6629, coder/aibridge#56; NVIDIA-NeMo/RL#3878 made it a 500."""
    for dialect, status in product(DIALECTS, (400, 500)):
        told = "This model's maximum context length is 2048 tokens. However, your request has 8 input tokens"
        running.engine.enqueue(Script(status=status, error=told))
        answer = post(running, dialect, stream=True)
        assert (answer.status_code, answer.headers["content-type"]) == (
            400 if status == 400 else 503,
            "application/json",
        )
        assert (told in answer.json()["error"]["message"]) == (
            status == 400
        )  # vllm-project/vllm#33418: its own figures
        assert stored(running) == []


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


def test_a_user_that_is_no_text_is_named(running: Running) -> None:
    """capacitor-community/intercom#68: an integer that became nobody."""
    for dialect in DIALECTS:
        assert refused(running, dialect, user=123)["param"] == "user"


def test_spaces_around_a_key_are_none_of_it(running: Running) -> None:
    """replayio/replay-cli#239, cds-snc/notification-api#2150, logicalclocks/hopsworks-api#185."""
    _, plain = running.services.database.write_now(keys.create, "acme", "a")
    closed(running)
    for header in ("Bearer   {}", "bearer {}", "BEARER {}"):
        for key, status in ((plain, 200), (f"{plain}x", 401)):
            sent = {"Authorization": header.format(key)}
            assert running.http().get("/v1/models", headers=sent).status_code == status


def test_a_user_may_be_called_anything_that_can_be_printed(running: Running) -> None:
    """othmar52/slimpd#3, statsfm/web#84, planety/prologue#127."""
    http, names = running.http(), ["a/b", "#%", "a?b=c", "é😀", "a b", "%2F", "x;y", "a\\b", "a+b", "user@x.org"]
    for name in names:
        path = f"/v1/users/{quote(name, safe='')}/values"
        assert http.put(path, json={"values": [{"preference": f"Be {name}"}]}).status_code == 200, name
    for name in names:
        values = http.get(f"/v1/users/{quote(name, safe='')}/values").json()["values"]
        assert [value["preference"] for value in values] == [f"Be {name}"]
    assert {user["id"] for user in http.get("/v1/users").json()["data"]} == set(names)


def test_what_is_deleted_takes_no_place_among_what_is_found(running: Running) -> None:
    """rohitg00/agentmemory#632, mem0ai/mem0#3695, supermemoryai/supermemory#142."""
    http, path, email = running.http(), "/v1/users/ann/preferences", "Write an email to Ann"
    texts = [f"Say {word} in each email" for word in "one two three four five six seven eight nine ten eleven".split()]
    ids = [http.post(path, json={"text": text, "context": email}).json()["id"] for text in texts]
    http.post(f"{path}/search", json={"context": email, "k": 3})  # an index of before
    for id in ids[:-1]:
        assert http.delete(f"{path}/{id}").status_code == 200
    found = http.post(f"{path}/search", json={"context": email, "k": 3}).json()["data"]
    assert [one["id"] for one in found] == ids[-1:]


def test_reading_and_writing_at_once_fails_nobody(running: Running) -> None:
    """SQLite's lock as 500s: DataZooDE/flapi#116, Arize-ai/phoenix#3949, cachethq/cachet#4620."""
    http = running.http()

    def one(number: int) -> int:
        user = f"/v1/users/u{number % 5}"
        if number % 3 == 0:
            return http.put(f"{user}/values", json={"values": [{"preference": f"Be {number}"}]}).status_code
        if number % 3 == 1:
            return http.post("/v1/chat/completions", json=ask(), headers={"X-User-Id": f"u{number % 5}"}).status_code
        return http.get("/v1/users").status_code

    with ThreadPoolExecutor(12) as threads:
        assert set(threads.map(one, range(60))) == {200}


def test_a_filter_has_no_wildcards(running: Running) -> None:
    """privacyidea/privacyidea#5561, rotki/rotki#9505, Crossbill-App/crossbill-web#305."""
    id = post(running, CHAT).json()["id"]
    http = running.http(headers=AS_ANN)
    assert http.post("/v1/feedback", json={"type": "thumbs", "completion_id": id, "thumb": "up"}).status_code == 202
    assert len(http.get("/v1/feedback", params={"completion_id": id}).json()["data"]) == 1
    for wildcard in ("%", "_", "%%", "chatcmpl-%"):
        assert http.get("/v1/feedback", params={"completion_id": wildcard}).json()["data"] == []
        assert http.get(f"/v1/turns/{quote(wildcard)}").status_code == 404


def test_a_whole_number_is_a_number(running: Running) -> None:
    """ai-forever/gigachain#237: a 0 that was to be a 0.0."""
    for dialect in DIALECTS:
        assert post(running, dialect, temperature=0, top_p=1).status_code == 200
        sent = running.engine.requests[-1]
        assert (sent["temperature"], sent["top_p"]) == (0, 1)
