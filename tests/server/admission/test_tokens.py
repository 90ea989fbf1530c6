"""Tokens of one user: what a page or a phone may hold, so that it speaks for its own user alone."""

import re
import time
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from store import keys, tokens
from store.tables import user_tokens
from tests.server.conftest import Running, Start, ask, until
from tests.server.dialects.test_dialects import DIALECTS


@pytest.fixture
def running(start: Start, database_url: str) -> Running:
    return start(database_url=database_url)


def keyed_app(running: Running) -> tuple[httpx.Client, str]:
    """A client with an API key, and the key's id."""
    id, key = running.services.database.write_now(keys.create, "acme", "test")
    client = running.http(headers={"Authorization": f"Bearer {key}"})
    until(lambda: running.http().get("/v1/models").status_code == 401)
    return client, id


def token(client: httpx.Client, user: str = "ann", **more: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/users/{user}/tokens", json=more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def holding(running: Running, made: dict[str, Any]) -> httpx.Client:
    return running.http(headers={"Authorization": f"Bearer {made['token']}"})


def test_a_token_speaks_for_its_user_and_for_nobody_else(running: Running) -> None:
    app, _ = keyed_app(running)
    ann = holding(running, token(app))
    for dialect in DIALECTS:
        assert ann.post(dialect.path, json=dialect.ask()).status_code == 200
        for refused in (
            ann.post(dialect.path, json=dialect.ask(), headers={"X-User-Id": "bob"}),
            ann.post(dialect.path, json=dialect.ask(user="bob")),
        ):
            assert refused.status_code in (400, 403), refused.text
    id = ann.post("/v1/chat/completions", json=ask()).json()["id"]
    assert ann.get(f"/v1/turns/{id}").status_code == 200
    edit = {"type": "edit", "completion_id": id, "edited_text": "Better"}
    sent = ann.post("/v1/feedback", json=edit)
    assert sent.status_code == 202
    assert ann.get(f"/v1/feedback/{sent.json()['id']}").json()["completion_id"] == id
    assert ann.post("/v1/users/ann/preferences", json={"text": "Be brief"}).status_code == 201
    assert ann.get("/v1/users/ann/export").status_code == 200
    assert [one["id"] for one in app.get("/v1/users").json()["data"]] == ["ann"]
    for path in ("/v1/users/bob/preferences", "/v1/users/bob/export", "/v1/users/%61nn%20x/values"):
        assert ann.get(path).status_code == 403
    assert ann.get(f"/v1/turns/{id}?user=bob").status_code == 400
    assert ann.get("/v1/users/%61nn/values").status_code == 200


def test_what_is_not_a_users_own_is_the_api_keys(running: Running) -> None:
    """All of the document's routes but those that are named here."""
    app, _ = keyed_app(running)
    ann = holding(running, token(app))
    allowed = {
        *(("POST", dialect.path) for dialect in DIALECTS),
        *(("POST", path) for path in ("/v1/messages/count_tokens", "/v1/embeddings", "/v1/feedback")),
        *(("GET", path) for path in ("/v1/models", "/v1/models/{model}", "/v1/feedback", "/v1/feedback/{id}")),
        *(("GET", path) for path in ("/v1/turns", "/v1/turns/{completion_id}", "/v1/users/{user}/export")),
        ("GET", "/v1/users/{user}/feedback"),
        *(("GET", f"/v1/users/{{user}}/adapters{path}") for path in ("", "/{version}")),
        *((method, "/v1/users/{user}/values") for method in ("GET", "PUT")),
        *((method, "/v1/users/{user}/preferences") for method in ("GET", "POST")),
        *((method, "/v1/users/{user}/preferences/{id}") for method in ("GET", "PATCH", "DELETE")),
        ("POST", "/v1/users/{user}/preferences/search"),
        *(("GET", path) for path in ("/v1/caller", "/v1/curve", "/v1/usage")),
        ("DELETE", "/v1/feedback/{id}"),
        *((method, "/v1/users/{user}") for method in ("GET", "PATCH")),
    }
    seen = set()
    for path, operations in app.get("/openapi.json").json()["paths"].items():
        for method in operations:
            if path.startswith("/v1/"):
                asked = re.sub(r"\{\w+\}", "3", path.replace("{user}", "ann"))
                answer = ann.request(method.upper(), asked, json={})
                if answer.status_code != 403:
                    seen.add((method.upper(), path))
    assert seen == allowed
    for asked in ("/v1/users/ann", "/v1/users", "/v1/nowhere", "/v1/fine_tuning/jobs"):
        assert ann.request("DELETE" if asked == "/v1/users/ann" else "GET", asked).status_code == 403


def test_a_token_erases_its_user_where_it_is_made_for_that(running: Running) -> None:
    app, _ = keyed_app(running)
    token(app, "bob")
    ann = holding(running, token(app, scopes=["erase"]))
    assert ann.get("/v1/users/ann/values").status_code == 403
    assert ann.delete("/v1/users/bob").status_code == 403
    assert ann.delete("/v1/users/ann").status_code == 200
    assert [one["id"] for one in app.get("/v1/users").json()["data"]] == ["bob"]
    until(lambda: ann.delete("/v1/users/ann").status_code == 401)  # it went with its user


def test_a_scope_is_all_that_a_token_may(running: Running) -> None:
    app, _ = keyed_app(running)
    talks = holding(running, token(app, scopes=["chat"]))
    assert talks.post("/v1/chat/completions", json=ask()).status_code == 200
    for path in ("/v1/feedback", "/v1/turns", "/v1/users/ann/values"):
        assert talks.get(path).status_code == 403
    reads = holding(running, token(app, scopes=["data"]))
    assert reads.get("/v1/turns").status_code == 200
    refused = reads.post("/v1/chat/completions", json=ask())
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize(
    "body", [{"scopes": []}, {"scopes": ["all"]}, {"expires_in": 59}, {"expires_in": 86_401}, {"expires_in": 2**63}]
)
def test_what_a_token_may_not_be(running: Running, body: dict[str, Any]) -> None:
    assert running.http().post("/v1/users/ann/tokens", json=body).status_code == 400


def test_a_token_ends(running: Running) -> None:
    """By its time, when it is revoked, with the key that made it, and with its user."""
    app, key_id = keyed_app(running)
    database = running.services.database
    expired, revoked, erased, orphan = (token(app, user) for user in ("ann", "ann", "bob", "ann"))

    def expire(c: Any) -> None:
        c.execute(update(user_tokens).where(user_tokens.c.id == expired["id"]).values(expires_at=time.time() - 1))

    database.write_now(expire)
    assert [one["id"] for one in app.get("/v1/users/ann/tokens").json()["data"]] == [revoked["id"], orphan["id"]]
    assert app.delete(f"/v1/users/ann/tokens/{revoked['id']}").status_code == 200
    assert app.delete(f"/v1/users/ann/tokens/{revoked['id']}").status_code == 404
    assert app.delete("/v1/users/bob").status_code in (200, 202)

    def refused(made: dict[str, Any]) -> bool:
        return holding(running, made).get("/v1/models").status_code == 401

    for made in (expired, revoked, erased):
        until(partial(refused, made))
    assert holding(running, orphan).get("/v1/models").status_code == 200
    database.write_now(keys.revoke, key_id)
    until(lambda: holding(running, orphan).get("/v1/models").status_code == 401)


def test_tokens_are_stored_as_hashes_and_are_few(running: Running) -> None:
    made = token(running.http())
    (row,) = running.services.database.read_now(lambda c: c.execute(select(user_tokens)).mappings().all())
    assert made["token"] not in str(dict(row))
    for _ in range(tokens.MAX_TOKENS - 1):
        running.services.database.write_now(tokens.create, _owner(), "local", ["chat"], 60)
    assert running.http().post("/v1/users/ann/tokens", json={}).status_code == 409
    assert token(running.http(), "bob")["scopes"] == ["chat", "data", "feedback"]


def test_without_any_key_a_token_binds_as_well(running: Running) -> None:
    ann = holding(running, token(running.http()))
    assert ann.get("/v1/users/ann/values").status_code == 200
    assert ann.get("/v1/users/bob/values").status_code == 403
    keyed_app(running)
    until(lambda: ann.get("/v1/users/ann/values").status_code == 401)


def _owner() -> Any:
    from store.owner import Owner

    return Owner("local", "ann")
