"""What a client can make of the body that reaches the engine: a frozen list of fields, each within bounds.

Every class of vLLM's security advisories has a case in this folder, on every route.
"""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.server.fake_engine import MODEL
from tests.server.guard_rails.conftest import Server, refuse, sent
from tests.server.guard_rails.routes import FORBIDDEN, MESSAGES, RESPONSES, Route, every


@every
def test_the_list_of_forwarded_fields_is_frozen(route: Route) -> None:
    forwarded = route.request.model_fields.keys() - route.request.not_forwarded | {"cache_salt"}
    if route is RESPONSES:
        forwarded |= {"store"}  # always false
    assert forwarded == route.forwarded


@every
def test_a_request_that_fills_every_field_forwards_no_other(server: Server, route: Route) -> None:
    received = sent(server, route, **route.full, user="ann", safety_identifier="ann", service_tier="auto", store=False)
    assert received.keys() == route.forwarded
    assert len(received["cache_salt"]) == 64


@every
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_field_that_is_not_listed_is_refused(server: Server, route: Route, name: str) -> None:
    refuse(server, route, route.body(**{name: FORBIDDEN[name]}), name)


@every
def test_every_other_field_of_the_engine_is_refused(server: Server, route: Route) -> None:
    others = engine_fields(*route.engine_model) - route.forwarded - route.unlike_engine - {"user"}
    assert len(others) >= 5 or route is MESSAGES
    for name in sorted(others - {"safety_identifier", "metadata", "stream_options"}):
        refuse(server, route, route.body(**{name: 1}), name)


def engine_fields(file: str, name: str) -> set[str]:
    """Field names of one of vLLM's request models, from its source."""
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    tree = ast.parse((Path(found.origin).parent / "entrypoints" / file).read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name).body
    fields = [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return {field.id.rstrip("_") for field in fields if isinstance(field, ast.Name)} - {"model_config"}


@every
@pytest.mark.parametrize("model", ["ann.v1", "../../x", "/etc/passwd", "http://x/y", MODEL + ".v1", MODEL.upper()])
def test_a_client_never_chooses_an_adapter_by_name(server: Server, route: Route, model: str) -> None:
    server.engine.adapters["ann.v1"] = "/x"  # one that is loaded
    refuse(server, route, route.body(model=model), "model", status=404)


@every
def test_values_have_bounds(server: Server, route: Route) -> None:
    for name, values in route.numbers.items():
        for value in values:
            body = route.body(**{name: value})
            if value in (float("inf"),):
                continue  # JSON has none
            refuse(server, route, body, name)


@every
@pytest.mark.parametrize("stop", [[""], [], ["x"] * 17, ["x" * 257], [1], 5, [["x"]], {"a": "b"}], ids=str)
def test_stops_are_few_and_short(server: Server, route: Route, stop: Any) -> None:
    if route.stop is None:
        refuse(server, route, route.body(stop=stop), "stop")
    elif stop == []:
        assert sent(server, route, **{route.stop: stop})[route.stop] == []
    else:
        refuse(server, route, route.body(**{route.stop: stop}), route.stop)


@every
def test_headers_of_the_client_stay_here(server: Server, route: Route) -> None:
    ours = {
        "Authorization": "Bearer mine",
        "X-Request-Id": "mine",
        "X-Session-Id": "mine",
        "X-Data-Parallel-Rank": "1",
        "Via": "1.2.3.4",
        "Cookie": "a=b",
        "anthropic-beta": "x",
        "openai-organization": "x",
    }
    answer = server.post(route, route.body(), **ours)
    assert answer.status_code == 200
    (headers,) = server.engine.headers
    assert {name.lower() for name in headers} <= {
        "host", "accept", "accept-encoding", "user-agent", "content-length", "content-type"
    }  # fmt: skip
