"""Bad input: each a clear error in the OpenAI envelope, naming the field."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.server.conftest import Running, Start, ask
from tests.server.fake_engine import MODEL, Script

AS_ANN = {"X-User-Id": "ann"}


def check(answer: httpx.Response, status: int, param: str | None = None, code: str | None = None) -> str:
    """The message of an error that is in the envelope and tells nothing of the inside."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert code is None or error["code"] == code
    assert answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    message: str = error["message"]
    assert message
    return message


def message(**changed: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi", **changed}]}


BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: "x"}, name)
        for name in ("chat_template", "prompt_embeds", "cache_salt", "lora_name", "lora_path", "foo")
    ),
    *(
        ({name: {}}, name)
        for name in ("chat_template_kwargs", "mm_processor_kwargs", "vllm_xargs", "kv_transfer_params")
    ),
    ({"documents": [], "echo": True}, "documents"),
    ({"prompt_logprobs": 1}, "prompt_logprobs"),
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [3]}, "messages.0"),
    ({"messages": [{"role": "user", "content": "x"}] * 501}, "messages"),
    (message(role="boss"), "messages.0.role"),
    (message(content=3), "messages.0.content"),
    (message(content=[{"text": "x"}]), "messages.0.content"),
    (message(content=[{"type": "text"}]), "messages.0.content"),
    (message(content=[{"type": "image_url", "image_url": {"url": "http://x"}}]), "messages.0.content.0"),
    (message(content=[{"type": "input_audio", "input_audio": {}}]), "messages.0.content.0"),
    (message(chat_template="x"), "messages.0.chat_template"),
    (message(tool_call_id="x" * 257), "messages.0.tool_call_id"),
    (message(refusal="x" * 65_537), "messages.0.refusal"),
    (message(reasoning="x" * 65_537), "messages.0.reasoning"),
    ({"n": 5}, "n"),
    ({"n": 0}, "n"),
    ({"n": "2"}, "n"),
    ({"n": True}, "n"),
    ({"top_logprobs": 6, "logprobs": True}, "top_logprobs"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"stop": 3}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"tools": "f"}, "tools"),
    ({"tool_choice": 1}, "tool_choice"),
    ({"response_format": "json"}, "response_format"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"foo": True}}, "stream_options.foo"),
    ({"metadata": {"user_id": 3}}, "metadata.user_id"),
    ({"user": 3}, "user"),
    ({"user": "x" * 257}, "user"),
    ({"user": "a\u0000b"}, "user"),
    ({"attune": []}, "attune"),
    ({"attune": {"foo": 1}}, "attune.foo"),
    ({"attune": {"personalize": "yes"}}, "attune.personalize"),
    ({"attune": {"k": -1}}, "attune.k"),
    ({"attune": {"k": "5"}}, "attune.k"),
    ({"attune": {"store": "no"}}, "attune.store"),
    ({"attune": {"values": ["Be brief"]}}, "attune.values.0"),
    ({"attune": {"values": [{"preference": ""}]}}, "attune.values.0.preference"),
    ({"attune": {"values": [{"preference": "x", "dimension": "mood"}]}}, "attune.values.0.dimension"),
    ({"attune": {"adapter_version": 1, "personalize": "retrieval"}}, "attune.adapter_version"),
    ({"attune": {"adapter_version": 1}}, "attune.adapter_version"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all these: none of them changes anything."""
    from server.settings import Settings
    from tests.server.conftest import serving
    from tests.server.fake_engine import FakeEngine

    with FakeEngine() as engine:
        settings = Settings(engine_url=engine.url, data_dir=tmp_path_factory.mktemp("data"), worker_in_process=False)
        with serving(settings, engine) as running:
            yield running


@pytest.mark.parametrize(("changed", "param"), BAD_CHATS, ids=lambda value: json.dumps(value)[:60])
def test_a_bad_chat_names_its_field(shared: Running, changed: dict[str, Any], param: str) -> None:
    check(shared.http().post("/v1/chat/completions", json={**ask(), **changed}), 400, param)
    assert not shared.engine.requests


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field(shared: Running, missing: str) -> None:
    body = {name: value for name, value in ask().items() if name != missing}
    check(shared.http().post("/v1/chat/completions", json=body), 400, missing)


@pytest.mark.parametrize("body", [b"", b"{", b"[1, 2", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b'"x"'])
def test_what_is_not_a_json_object(shared: Running, body: bytes) -> None:
    answer = shared.http().post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    check(answer, 400)


@pytest.mark.parametrize(("text", "param"), [('"\\ud800"', "tools.0.x"), ("NaN", None)])
def test_what_json_cannot_hold(shared: Running, text: str, param: str | None) -> None:
    body = json.dumps(ask(tools=[{"x": 0}])).replace('"x": 0', f'"x": {text}')
    answer = shared.http().post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    check(answer, 400, param)


def test_a_body_without_its_content_type_says_so(shared: Running) -> None:
    answer = shared.http().post("/v1/chat/completions", content=json.dumps(ask()))
    assert "Content-Type: application/json" in check(answer, 400)


def test_an_unknown_model(shared: Running) -> None:
    answer = shared.http().post("/v1/chat/completions", json=ask(model="gpt-4"))
    assert MODEL in check(answer, 404, "model", "model_not_found")
    with pytest.raises(openai.NotFoundError):
        shared.client().chat.completions.create(**ask(model="0123.v1"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/users/a/values", 405),
    ],
)
def test_unknown_routes(shared: Running, method: str, path: str, status: int) -> None:
    check(shared.http().request(method, path), status)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/users/nobody/values"),
        ("GET", "/v1/users/nobody/preferences"),
        ("GET", "/v1/users/nobody/adapters"),
        ("POST", "/v1/users/nobody/adapters"),
        ("POST", "/v1/users/nobody/adapters/1/activate"),
        ("DELETE", "/v1/users/nobody/adapters/1"),
        ("DELETE", "/v1/users/nobody"),
        ("DELETE", "/v1/users/nobody/preferences/pref-1"),
    ],
)
def test_an_unknown_user(shared: Running, method: str, path: str) -> None:
    check(shared.http().request(method, path), 404, "user", "not_found")


@pytest.mark.parametrize(
    ("path", "param"),
    [("/v1/turns/chatcmpl-1", "completion_id"), ("/v1/feedback/fb-1", "id"), ("/v1/turns/a%00b", "completion_id")],
)
def test_an_unknown_id(shared: Running, path: str, param: str) -> None:
    check(shared.http().get(path, headers=AS_ANN), 404, param, "not_found")
    check(shared.http().get(path), 400, "X-User-Id")


@pytest.mark.parametrize(
    ("user", "status"), [("x" * 257, 400), ("%20", 400), ("a%0ab", 400), ("%ff", 400), ("a%2Fb%2Fvalues", 404)]
)
def test_a_bad_user_in_the_path(shared: Running, user: str, status: int) -> None:
    check(shared.http().get(f"/v1/users/{user}/values"), status, "user")


@pytest.mark.parametrize("user", [b"x" * 257, b"\xff", b"a\tb"])
def test_a_bad_user_in_the_header(shared: Running, user: bytes) -> None:
    check(shared.http().post("/v1/chat/completions", json=ask(), headers={b"X-User-Id": user}), 400, "X-User-Id")


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"type": "rating"}, "rating"),
        ({"type": "applause"}, "type"),
        ({"type": None}, "type"),
        ({"type": ["edit"]}, "type"),
        ({"type": "thumbs"}, "thumb"),
        ({"thumb": "up"}, "thumb"),
        ({"completion_id": ""}, "completion_id"),
        ({"completion_id": None}, "completion_id"),
        ({"edited_text": 3}, "edited_text"),
        ({"edited_text": "  "}, "edited_text"),
        ({"edited_text": "x" * 100_001}, "edited_text"),
        ({"choice": -1}, "choice"),
        ({"foo": 1}, "foo"),
    ],
)
def test_bad_feedback(shared: Running, changed: dict[str, Any], param: str) -> None:
    body = {"type": "edit", "completion_id": "chatcmpl-1", "edited_text": "x", **changed}
    check(shared.http().post("/v1/feedback", json=body, headers=AS_ANN), 400, param)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"completion_id": ""}, "completion_id"),
        ({"thumb": None}, "thumb"),
        ({"thumb": True}, "thumb"),
        ({"thumb": "UP"}, "thumb"),
        ({"choice": -1}, "choice"),
        ({"choice": "0"}, "choice"),
        ({"edited_text": "x"}, "edited_text"),
        ({"type": "edit", "edited_text": "x"}, "thumb"),
        ({"metadata": {"k": 3}}, "metadata.k"),
        ({"foo": 1}, "foo"),
    ],
)
def test_bad_thumbs(shared: Running, changed: dict[str, Any], param: str) -> None:
    body = {"type": "thumbs", "completion_id": "chatcmpl-1", "thumb": "up", **changed}
    check(shared.http().post("/v1/feedback", json=body, headers=AS_ANN), 400, param)


@pytest.mark.parametrize("body", [{}, {"type": "x" * 10_000}, [], "edit", None])
def test_feedback_that_does_not_say_what_it_is(shared: Running, body: Any) -> None:
    answer = shared.http().post("/v1/feedback", json=body, headers=AS_ANN)
    check(answer, 400, "type" if isinstance(body, dict) else None)
    assert len(answer.content) < 300


def test_feedback_without_a_user(shared: Running) -> None:
    body = {"type": "edit", "completion_id": "chatcmpl-1", "edited_text": "x"}
    check(shared.http().post("/v1/feedback", json=body), 400, "user")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("preferences", {}, "text"),
        ("preferences", {"text": ""}, "text"),
        ("preferences", {"text": "x" * 401}, "text"),
        ("preferences", {"text": "x", "context": ""}, "context"),
        ("preferences", {"text": "x", "source": "learned"}, "source"),
        ("preferences/search", {"context": ""}, "context"),
        ("preferences/search", {"context": "x", "k": 0}, "k"),
    ],
)
def test_bad_preferences(shared: Running, path: str, body: dict[str, Any], param: str) -> None:
    check(shared.http().post(f"/v1/users/someone/{path}", json=body), 400, param)


@pytest.mark.parametrize("values", [None, [{"preference": ""}], [{}], ["x"], [{"preference": "x"}] * 65])
def test_bad_values(shared: Running, values: Any) -> None:
    answer = shared.http().put("/v1/users/someone/values", json={"values": values})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("values")


@pytest.mark.parametrize("version", ["x", "-1", "1e9", "99999999999"])
def test_a_bad_version(shared: Running, version: str) -> None:
    check(shared.http().post(f"/v1/users/someone/adapters/{version}/activate"), 400, "version")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit(start: Start, chunked: bool) -> None:
    body = json.dumps(ask("x" * 2000)).encode()
    running = start(body_limit=1000)
    content: Any = (body[i : i + 100] for i in range(0, len(body), 100)) if chunked else body
    answer = running.http().post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    check(answer, 413)
    assert answer.json()["error"]["code"] == "body_too_large"
    assert not running.engine.requests


@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (422, 400), (429, 503), (500, 503), (503, 503), (401, 503)]
)
def test_the_engines_own_errors(running: Running, status: int, expected: int) -> None:
    running.engine.enqueue(Script(status=status, error="it says why", param="top_k"))
    answer = running.http().post("/v1/chat/completions", json=ask())
    told = check(answer, expected, "top_k" if expected == 400 else None)
    assert ("it says why" in told) == (expected == 400)
    assert ("Retry-After" in answer.headers) == (expected == 503)


def test_no_engine_at_all(start: Start) -> None:
    running = start(engine_url="http://127.0.0.1:1", served_model_name=MODEL)
    check(running.http().post("/v1/chat/completions", json=ask()), 503, None, "engine_unavailable")
    check(running.http().post("/v1/chat/completions", json=ask(stream=True)), 503, None, "engine_unavailable")
    ready = running.http().get("/ready")
    assert ready.status_code == 503
    assert ready.json()["engine"] == "unreachable"


def test_the_unexpected_shows_nothing_of_the_inside(running: Running) -> None:
    running.services.database.close()
    answer = running.http().get("/v1/users/ann/values", headers={"X-Request-Id": "my-id"})
    check(answer, 500, None, "internal")
    assert answer.headers["X-Request-Id"] == "my-id"


def test_values_are_bounded_together(running: Running) -> None:
    values = [{"preference": f"{number}", "description": "x" * 2000} for number in range(8)]
    http = running.http(headers=AS_ANN)
    assert "16000 characters together" in check(
        http.put("/v1/users/ann/values", json={"values": values}), 400, "values"
    )
    sent = http.post("/v1/chat/completions", json=ask(attune={"values": values}))
    assert "16000 characters together" in check(sent, 400, "attune.values")
