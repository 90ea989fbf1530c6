"""Schemas, patterns and grammars: what costs too much to compile never reaches the engine."""

from typing import Any

import pytest

from server.dialects.schema import MAX_PATTERN, check_schemas
from store.errors import Invalid
from tests.server.guard_rails.conftest import Server, refuse, sent
from tests.server.guard_rails.routes import Route, every, nested

BOMBS: dict[str, Any] = {
    "deep": nested(40),
    "deeper": nested(80),
    "large": {"enum": ["x" * 1000 for _ in range(300)]},
    "a long pattern": {"type": "string", "pattern": "[a-z]?" * 100},
    "a pattern with a NUL": {"type": "string", "pattern": "a\0b"},
    "repeats": {"type": "string", "pattern": "^[a-z]{1,10000}$"},
    "huge repeats": {"type": "string", "pattern": "^[a-z]{1,%s}$" % ("9" * 100)},
    "many repeats": {"anyOf": [{"type": "string", "pattern": f"^{c}{{1,900}}$"} for c in "abcde"]},
    "repeats of repeats": {"type": "string", "pattern": "^(((A{1,35}b){1,35}c){1,35})$"},
    "repeats of long groups": {"type": "string", "pattern": "^(" + "abcdefghij" * 40 + "){1,99}$"},
    "repeats of free choices": {"type": "string", "pattern": "^([a-z ]*\\w){13,}$"},
    "repeats of anything": {"type": "string", "pattern": "^(?:.{0,9}){1,5}$"},
    "endless repeats of repeats": {"type": "string", "pattern": "^(b?.{0,9}){1,}(.+y{1,9}.+)?$"},
    "many choices": {"type": "string", "pattern": "[a-z ]*" * 70},
    "repeats of nothing": {"type": "string", "pattern": "^((){1,99}){1,99}$"},
    "repeats beside a class": {"type": "string", "pattern": "^[(]a{1,5000}[)\\]]$"},
    "repeats in a key": {"type": "object", "patternProperties": {"^[a-z]{5000}$": {"type": "string"}}},
    "spaced repeats": {"type": "string", "pattern": "^[a-z]{ 1 , 10000 }$"},
    "long strings": {
        "type": "object",
        "properties": {f"p{i}": {"type": "string", "maxLength": 10**5} for i in range(11)},
    },
    "huge": {"type": "string", "maxLength": 2**70},
    "endless": {"type": "array", "items": {"type": "string"}, "maxItems": 10**300},
    "negative": {"type": "array", "minItems": -1},
    "many properties": {"type": "object", "minProperties": 300, "maxProperties": 400},
}


@every
@pytest.mark.parametrize("name", BOMBS)
def test_what_costs_too_much_to_compile_is_refused(server: Server, route: Route, name: str) -> None:
    if route.schema is not None:
        change, param = route.schema(BOMBS[name])
        refuse(server, route, route.body(**change), param)
    if route.tools is not None:
        refuse(server, route, route.body(**route.tools("f", BOMBS[name])), "tools")


@every
def test_what_a_request_costs_is_bounded_as_a_whole(server: Server, route: Route) -> None:
    half = {"type": "string", "pattern": "^[a-z]{1,2500}$"}
    changes = [route.schema(half)[0] if route.schema else {}, route.tools("f", half) if route.tools else {}]
    for change in changes:
        server.engine.requests.clear()
        sent(server, route, **change)
    if all(changes):
        server.engine.requests.clear()
        answer = server.post(route, route.body(**changes[0], **changes[1]))
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] in {**changes[0], **changes[1]}
        assert server.engine.requests == []


@every
def test_an_ordinary_schema_passes_unchanged(server: Server, route: Route) -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,8}$"},
            "address": {"type": "string", "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}$"},
            "uuid": {"type": "string", "pattern": "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"},
            "time": {
                "type": "string",
                "pattern": r"^\d{4}-(0[1-9]|1[0-2])-\d{2}T\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})$",
            },
            "mail": {"type": "string", "pattern": r"^[^@\s]+@([a-z0-9-]+\.)+[a-z]{2,}$"},
            "line": {"type": "string", "pattern": "^.{1,100}$"},
            "braces": {"type": "string", "pattern": r"^[{5000}()]\{5000\}\($"},
            "pattern": {"type": "string", "maxLength": 2000},
            "maxProperties": {"type": "array", "maxItems": 100, "items": nested(5)},
        },
        "required": ["id"],
        "additionalProperties": False,
        "maxProperties": 3,
    }
    change = route.schema(schema)[0] if route.schema else {}
    tools = route.tools("get_weather", schema) if route.tools else {}
    received = sent(server, route, **change, **tools)
    assert all(received[key] == value for key, value in change.items())
    assert str(schema) in str(received)


@every
@pytest.mark.parametrize("form", ["structural_tag", "regex", "grammar", None, 1, ["json_schema"]])
def test_answers_have_one_of_three_forms(server: Server, route: Route, form: Any) -> None:
    if route.schema is None:
        refuse(server, route, route.body(response_format={"type": form}), "response_format")
        return
    param = route.schema({})[1]
    given = {"type": form, "structures": [{"begin": "a", "schema": {}, "end": "b"}], "triggers": ["a"], "format": {}}
    field, _, inner = param.partition(".")
    change = {field: {inner: given} if inner else given}
    refuse(server, route, route.body(**change), param)


def test_sizes_are_checked_before_costs() -> None:
    patterns = {f"p{number}": {"type": "string", "pattern": "a" * MAX_PATTERN} for number in range(40)}
    with pytest.raises(Invalid, match="characters of the request's patterns"):
        check_schemas({"tools": [{"function": {"parameters": {"properties": patterns}}}]})
    large = {f"p{number}": {"type": "string", "pattern": "a{9}" * 128} for number in range(600)}
    with pytest.raises(Invalid, match="size of the request's schemas"):
        check_schemas({"tools": [{"function": {"parameters": {"properties": large}}}]})
