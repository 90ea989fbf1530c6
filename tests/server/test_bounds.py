"""What a field may hold is bounded: integers on both sides, text to what both stores and UTF-8 can hold."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.conftest import Running, Start, ask
from tests.server.dialects.test_dialects import AS_ANN, DIALECTS, MESSAGES, Dialect

HUGE = [2**31, 2**63, -(2**63) - 1, 10**30]
LONE = "\\ud83d"


def integers(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an integer that a request may hold, and where."""
    schemas = document["components"]["schemas"]

    def inside(schema: dict[str, Any], place: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        name = schema.get("$ref", "").rpartition("/")[2]
        if name in seen:
            return
        if name:
            yield from inside(schemas[name], place, (*seen, name))
        if schema.get("type") == "integer" and "enum" not in schema:
            yield place, schema
        for field, inner in schema.get("properties", {}).items():
            yield from inside(inner, f"{place}.{field}", seen)
        several = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        for inner in [*several, schema.get("items"), schema.get("additionalProperties")]:
            if isinstance(inner, dict):
                yield from inside(inner, place, seen)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield from inside(parameter["schema"], f"{method} {path} {parameter['name']}")
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from inside(content.get("schema", {}), f"{method} {path} ")


def test_every_integer_of_the_api_has_bounds(running: Running) -> None:
    found = list(integers(running.http().get("/openapi.json").json()))
    assert len(found) > 20
    least, most = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
    assert [place for place, schema in found if not (schema.keys() & least and schema.keys() & most)] == []


@pytest.mark.parametrize("version", HUGE)
def test_a_version_that_no_store_can_hold_is_refused(start: Start, database_url: str, version: int) -> None:
    running = start(database_url=database_url)
    for dialect in DIALECTS:
        body = dialect.ask(attune={"adapter_version": version})
        answer = running.http().post(dialect.path, json=body, headers=AS_ANN)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "attune.adapter_version")
    answer = running.http().post(f"/v1/users/ann/adapters/{version}/activate")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "version")


def answered(running: Running, user: str = "ann") -> str:
    """The id of an answer."""
    id: str = running.http().post("/v1/chat/completions", json=ask(), headers={"X-User-Id": user}).json()["id"]
    return id


def with_lone_surrogates(running: Running) -> Iterator[tuple[str, str, str, str]]:
    """Method, path, body and the field that holds half a character, of every route that takes JSON."""
    edit = {"type": "edit", "completion_id": answered(running), "edited_text": "Hi @"}
    stated = running.http().post("/v1/users/ann/preferences", json={"text": "Be brief"}).json()["id"]
    value = {"preference": "Be @", "description": "so"}
    job = {"model": "fake-model", "training_file": "attune://edits"}
    asked: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", "/v1/feedback", edit, "edited_text"),
        ("POST", "/v1/feedback", {**edit, "edited_text": "x", "metadata": {"a": "@"}}, "metadata.a"),
        ("POST", "/v1/feedback", {**edit, "edited_text": "x", "metadata": {"@": "a"}}, "metadata"),
        ("POST", "/v1/feedback", {**edit, "edited_text": "x", "user": "@"}, "user"),
        ("POST", "/v1/users/ann/preferences", {"text": "@"}, "text"),
        ("POST", "/v1/users/ann/preferences", {"text": "x", "context": "@"}, "context"),
        ("POST", "/v1/users/ann/preferences/search", {"context": "@"}, "context"),
        ("PATCH", f"/v1/users/ann/preferences/{stated}", {"text": "@"}, "text"),
        ("PUT", "/v1/users/ann/values", {"values": [value]}, "values.0.preference"),
        ("PUT", "/v1/users/ann/values", {"values": [{"preference": "x", "description": "@"}]}, "values.0.description"),
        ("POST", "/v1/fine_tuning/jobs", {**job, "model": "@"}, "model"),
    ]
    for dialect in DIALECTS:
        for fields, param in (
            ({"metadata": {"a": "@"}}, "metadata.a"),
            ({"user": "@"}, "user"),
            ({"attune": {"values": [{"preference": "@"}]}}, "attune.values.0.preference"),
        ):
            asked.append(("POST", dialect.path, dialect.ask(**fields), param))
        asked.append(("POST", dialect.path, *_said(dialect)))
    for method, path, body, param in asked:
        yield method, path, json.dumps(body).replace("@", LONE), param


def _said(dialect: Dialect) -> tuple[dict[str, Any], str]:
    """A request whose own text has half a character, and where that is."""
    body = dialect.ask("Hi @")
    name = next(name for name in ("messages", "input", "prompt") if name in body)
    return body, "messages.0.content" if name == "messages" else name


def test_half_a_character_is_refused_by_name_wherever_text_comes_in(running: Running) -> None:
    """A text that was cut in the middle of an emoji is sent as JSON escapes it (Aider-AI/aider#3693)."""
    http = running.http(headers={"X-User-Id": "ann", "Content-Type": "application/json"})
    for method, path, body, param in with_lone_surrogates(running):
        answer = http.request(method, path, content=body)
        told = (answer.status_code, answer.json().get("error", {}).get("param"))
        assert told == (400, param), (method, path, body, answer.text)


def test_a_whole_pair_of_escapes_is_a_character(running: Running) -> None:
    edit = {"type": "edit", "completion_id": answered(running), "edited_text": "Hi \U0001f600 \\ud83d"}
    body = json.dumps(edit)
    assert LONE in body
    sent = running.http().post("/v1/feedback", content=body, headers={**AS_ANN, "Content-Type": "application/json"})
    assert sent.status_code == 202
    chat = json.dumps(MESSAGES.ask("Hi \U0001f600 \\ud83d"))
    answer = running.http().post(MESSAGES.path, content=chat, headers={**AS_ANN, "Content-Type": "application/json"})
    assert answer.status_code == 200
    assert running.engine.requests[-1]["messages"][0]["content"] == "Hi \U0001f600 \\ud83d"


@pytest.mark.parametrize("query", ["user=%ED%A0%BD", "user=%FF"])
def test_a_query_that_is_no_text_names_no_user(running: Running, query: str) -> None:
    answer = running.http().get(f"/v1/feedback/fb-1?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "user")
