"""What a tenant may keep: known before the engine is asked, counted in rows, free again with what is erased."""

import random
from itertools import product
from typing import Any

import pytest

from server.routes.requests import KeepsMore
from store import bytes_held, keys
from store.owner import Owner
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import DIALECTS

LIMIT = 20_000
AS_ANN, AS_BOB = {"X-User-Id": "ann"}, {"X-User-Id": "bob"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LONG = "word" * 6_000


@pytest.fixture
def full(start: Start) -> Running:
    """Ann has filled her tenant."""
    running = start(bytes_per_tenant=LIMIT)
    http = running.http()
    assert http.post("/v1/chat/completions", json=ask(LONG), headers=AS_ANN).status_code == 200
    assert running.services.database.read_now(bytes_held.held, "local") > LIMIT
    until(lambda: http.put("/v1/users/bob/values", json={"values": []}).status_code == 403)
    running.engine.requests.clear()
    return running


def refused(answer: Any) -> None:
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "20,000 bytes" in error["message"]


def test_a_full_tenant_is_told_before_the_engine_is_asked(full: Running) -> None:
    for dialect, stream in product(DIALECTS, (False, True)):
        full.engine.requests.clear()
        refused(full.http().post(dialect.path, json=dialect.ask(stream=stream), headers=AS_BOB))
        assert full.engine.requests == []
        for how in ({"store": False}, {"attune": {"personalize": "off"}}):
            assert full.http().post(dialect.path, json=dialect.ask(**how), headers=AS_ANN).status_code == 200
        assert full.http().post(dialect.path, json=dialect.ask()).status_code == 200  # of nobody, so nothing is kept


def test_nothing_else_is_stored_either(full: Running) -> None:
    http, user = full.http(headers=AS_ANN), "/v1/users/ann"
    id = http.get("/v1/turns").json()["data"][0]["id"]
    refused(http.post("/v1/feedback", json={"type": "edit", "completion_id": id, "edited_text": "Hi"}))
    refused(http.post(f"{user}/preferences", json={"text": "Be brief"}))
    refused(http.patch("/v1/users/eve", json={"paused": True}))
    refused(http.put(f"{user}/values", json={"values": [{"preference": "Be brief"}]}))
    refused(http.post(f"{user}/tokens", json={}))
    refused(http.post(f"{user}/adapters"))
    refused(http.post(f"{user}/adapters/import", content=b"", headers={"Content-Type": "application/x-tar"}))
    job = {"model": "fake-model", "training_file": "attune://edits"}
    refused(http.post("/v1/fine_tuning/jobs", json=job))
    assert http.get(f"{user}/export").status_code == 200


def test_in_a_full_tenant_one_may_pause_and_is_answered_then(full: Running) -> None:
    http = full.http(headers=AS_ANN)
    refused(http.post("/v1/chat/completions", json=ask()))
    assert http.patch("/v1/users/ann", json={"paused": True}).status_code == 200
    assert http.post("/v1/chat/completions", json=ask()).status_code == 200  # nothing of it is kept


def test_every_route_that_makes_rows_asks(running: Running) -> None:
    """A new route under /v1 that stores something says so, or is one of these."""
    frees_or_keeps_nothing = {
        *("POST /v1/embeddings", "POST /v1/messages/count_tokens", "POST /v1/users/{user}/preferences/search"),
        "POST /v1/keys",  # the operator's
        *("POST /v1/fine_tuning/jobs/{id}/cancel", "PATCH /v1/users/{user}/preferences/{id}"),
        *(f"POST /v1/{route}" for route in ("chat/completions", "completions", "responses", "messages")),  # ask inside
        "PATCH /v1/users/{user}",  # as well
    }
    asked = set()
    for path, methods in running.http().get("/openapi.json").json()["paths"].items():
        for method in set(methods) & {"post", "put", "patch"}:
            asked.add(f"{method.upper()} {path}")
    keeping = {
        f"{method} {route.path}"
        for route in _routes(running)
        if any(one.dependency is KeepsMore.dependency for one in route.dependencies)
        for method in route.methods
    }
    changing = {one for one in asked if "/adapters/" in one and not one.endswith("/import")}  # of one that is there
    assert keeping == asked - frees_or_keeps_nothing - changing


def _routes(running: Running) -> list[Any]:
    from fastapi.routing import APIRoute

    from server.app import create_app

    app = create_app(running.services.settings)
    return [route for route in app.routes if isinstance(route, APIRoute)]


@pytest.mark.parametrize("how", ["user", "feedback"])
def test_what_is_erased_is_free(start: Start, how: str) -> None:
    running = start(bytes_per_tenant=LIMIT)
    http = running.http(headers=AS_ANN)
    id = http.post("/v1/chat/completions", json=ask()).json()["id"]
    edit = {"type": "edit", "completion_id": id, "edited_text": LONG}
    given = http.post("/v1/feedback", json=edit).json()["id"]
    until(lambda: http.put("/v1/users/bob/values", json={"values": []}).status_code == 403)
    path = "/v1/users/ann" if how == "user" else f"/v1/feedback/{given}"
    assert http.delete(path).status_code in (200, 202)
    until(lambda: http.put("/v1/users/bob/values", json={"values": []}).status_code == 200)


def test_other_tenants_keep_what_they_like(start: Start) -> None:
    running = start(bytes_per_tenant=LIMIT)
    _, acme = running.services.database.write_now(keys.create, "acme", "a")
    _, other = running.services.database.write_now(keys.create, "other", "b")
    mine = running.http(headers={**AS_ANN, "Authorization": f"Bearer {acme}"})
    until(lambda: mine.post("/v1/chat/completions", json=ask(LONG)).status_code == 403)
    theirs = running.http(headers={**AS_ANN, "Authorization": f"Bearer {other}"})
    assert theirs.post("/v1/chat/completions", json=ask()).status_code == 200


def test_what_is_counted_is_what_is_kept(running: Running) -> None:
    """Of texts of several scripts: the count is the rows' bytes, some hundred more for each."""
    http, random_ = running.http(headers=AS_ANN), random.Random(1)
    database = running.services.database
    before = database.read_now(bytes_held.held, "local")
    assert before == 0
    for text in ("plain " * 1000, "über alles " * 500, "漢字" * 700, "😀" * 300, '"\\' * 400):
        http.post("/v1/chat/completions", json=ask(text + str(random_.random())))
    stored = database.read_now(_stored, Owner("local", "ann"))
    counted = database.read_now(bytes_held.held, "local")
    assert stored < counted < stored * 1.1 + 6 * 2 * bytes_held.ROW


def _stored(c: Any, owner: Owner) -> int:
    from sqlalchemy import Text, cast, func, select

    from store.rows import scope
    from store.tables import turns

    names = ("request", "prompt", "answers", "applied_values", "applied_preferences")
    lengths = [func.length(cast(turns.c[name], Text)) for name in names]
    return int(c.execute(select(func.sum(sum(lengths[1:], lengths[0]))).where(scope(turns, owner))).scalar_one())


def test_what_costs_no_token_is_bounded(running: Running) -> None:
    """A request of one token could hold the whole of a body's limit beside its texts, and a turn keeps it."""
    asides: list[dict[str, Any]] = [
        {"refusal": "x" * 60_000},
        {"reasoning": "x" * 60_000},
        {"content": [{"type": "text", "text": "Hi", "annotations": ["x" * 60_000]}]},
        {
            "tool_calls": [{**CALL, "x": "y" * 60_000}],
        },
    ]
    for beside in asides:
        said = {"role": "assistant", "content": "Hi", **beside}
        answer = running.http().post(
            "/v1/chat/completions", json=ask(messages=[said] * 10 + ask()["messages"]), headers=AS_ANN
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
        assert "beside their texts" in answer.json()["error"]["message"]
        few = running.http().post(
            "/v1/chat/completions", json=ask(messages=[said] * 5 + ask()["messages"]), headers=AS_ANN
        )
        assert few.status_code == 200, few.text


def test_an_image_is_no_aside(start: Start) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 900_000}"}}
    messages = [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]
    running = start(allow_media="data")
    answer = running.http().post("/v1/chat/completions", json=ask(messages=messages), headers=AS_ANN)
    assert answer.status_code == 200, answer.text


def test_long_texts_and_arguments_are_no_asides(running: Running) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":"' + "x" * 90_000 + '"}'}}
    messages = [{"role": "user", "content": "y" * 90_000}, {"role": "assistant", "tool_calls": [call]}] * 5
    answer = running.http().post("/v1/chat/completions", json=ask(messages=messages + ask()["messages"]))
    assert answer.status_code == 200, answer.text
