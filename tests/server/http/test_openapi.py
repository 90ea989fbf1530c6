"""The OpenAPI document: complete, with examples that are true, and readable in a browser."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from server.app import create_app
from server.errors import BodyTooLarge, TooManyRequests, Unauthorized, status_of
from server.settings import Settings
from store.errors import EngineUnavailable, IdempotencyConflict, Invalid, NotFound
from tests.server.conftest import Running

DOCUMENT: dict[str, Any] = create_app(Settings(data_dir=Path("unused"))).openapi()
OPERATIONS = [
    pytest.param(path, operation, id=f"{method.upper()} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def check(value: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, {**schema, "components": DOCUMENT["components"]})


def fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema.get("properties", {}).items())


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_says_what_it_takes_and_gives(path: str, operation: dict[str, Any]) -> None:
    assert operation["description"]
    assert operation["tags"]
    for status, response in operation["responses"].items():
        assert response["description"] not in ("", "Successful Response") or status.startswith("2")
        for kind, content in response.get("content", {}).items():
            schema = content.get("schema") or content.get("itemSchema")
            assert schema, f"{status} {kind} says nothing"
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]
    if path.startswith("/v1/"):
        assert {tuple(scheme) for scheme in operation["security"]} == {("HTTPBearer",), ("APIKeyHeader",)}


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_errors_are_documented_in_the_envelope_they_have(path: str, operation: dict[str, Any]) -> None:
    errors = {int(status): r for status, r in operation["responses"].items() if status >= "400" and path != "/ready"}
    if path.startswith("/v1/"):
        assert errors.keys() >= {400, 401, 413, 429, 503}
    for status, response in errors.items():
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}
        check(content["example"], content["schema"])
        assert ("Retry-After" in response.get("headers", {})) == (status in (429, 503))
    assert "HTTPValidationError" not in str(operation)


@pytest.mark.parametrize(
    "error",
    [
        Invalid("x"),
        Unauthorized("x"),
        NotFound("x"),
        BodyTooLarge("x"),
        IdempotencyConflict("x"),
        TooManyRequests("x"),
        EngineUnavailable("x"),
    ],
)
def test_the_examples_of_errors_are_what_such_errors_look_like(error: Any) -> None:
    status, kind = status_of(error)
    (example,) = {
        (told["type"], told["code"])
        for path, operations in DOCUMENT["paths"].items()
        for operation in operations.values()
        if path.startswith("/v1/") and str(status) in operation["responses"]
        for told in [operation["responses"][str(status)]["content"]["application/json"]["example"]["error"]]
    }
    assert example == (kind, error.code)


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_examples_fit_their_schemas(name: str) -> None:
    for _, field in fields(DOCUMENT["components"]["schemas"][name]):
        for example in field.get("examples", []):
            check(example, field)


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_every_body_has_an_example_that_is_valid(path: str, operation: dict[str, Any]) -> None:
    if "requestBody" not in operation:
        return
    content = operation["requestBody"]["content"].get("application/json")
    if content is None:  # a file
        return
    for form in content["schema"].get("oneOf", [content["schema"]]):
        schema = DOCUMENT["components"]["schemas"][form["$ref"].rpartition("/")[2]]
        made = {name: field["examples"][0] for name, field in fields(schema) if "examples" in field}
        example = content.get("example", made)
        assert example, path
        constants = {name: field["const"] for name, field in fields(schema) if "const" in field}
        check({**constants, **example}, content["schema"])


def test_the_document_and_its_page_are_served(running: Running) -> None:
    http = running.http()
    assert http.get("/openapi.json").json()["info"]["title"] == "Attune"
    page = http.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "POST /v1/chat/completions" in page.text
    assert re.findall(r"https?://[^\s<]*\.(?:js|css)|<script|(?:src|href)=['\"]?/", page.text) == []
