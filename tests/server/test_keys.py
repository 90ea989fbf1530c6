"""Keys over the API: the first is made by this machine, an operator's manages all tenants'."""

from typing import Any

import pytest

from store import keys
from tests.server.conftest import Running, Start, until
from tests.server.test_operation import holding


def test_the_first_key_is_made_by_this_machine_and_closes_the_door(running: Running) -> None:
    http = running.http()
    assert http.get("/v1/keys").json() == {"object": "list", "data": []}
    made = http.post("/v1/keys", json={"tenant": "acme", "name": "app", "requests_per_minute": 9, "in_flight": 2})
    assert made.status_code == 201
    told = made.json()
    assert (told["tenant"], told["name"], told["requests_per_minute"], told["in_flight"]) == ("acme", "app", 9, 2)
    until(lambda: http.get("/v1/models").status_code == 401)
    app = holding(running, told["key"])
    assert app.get("/v1/caller").json()["tenant"] == "acme"
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/x"), ("GET", "/v1/status")):
        refused = app.request(method, path, json={"tenant": "other"})
        assert refused.status_code == 403, path
        assert "ATTUNE_OPERATOR_KEYS" in refused.json()["error"]["message"]


def test_an_operators_key_manages_all_tenants_keys(start: Start) -> None:
    first = start()
    id, key = first.services.database.write_now(keys.create, "operations", "console")
    running = start(operator_keys=f" {id} ,unknown")
    operator = holding(running, key)
    assert operator.get("/v1/caller").json()["operator"] is True
    made = operator.post("/v1/keys", json={"tenant": "acme"}).json()
    assert made["name"] == "default"
    listed = operator.get("/v1/keys").json()["data"]
    assert [(one["tenant"], one["revoked_at"]) for one in listed] == [("acme", None), ("operations", None)]
    assert all("key" not in one and "sha256" not in one for one in listed)
    app = holding(running, made["key"])
    assert app.get("/v1/caller").json()["operator"] is False
    assert operator.delete(f"/v1/keys/{made['id']}").json()["deleted"] is True
    assert operator.delete(f"/v1/keys/{made['id']}").status_code == 404
    until(lambda: app.get("/v1/caller").status_code == 401)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "tenant"), ({"tenant": ""}, "tenant"), ({"tenant": " "}, "tenant"), ({"tenant": "x" * 65}, "tenant"),
        ({"tenant": "a\0"}, "tenant"), ({"tenant": "a", "in_flight": 0}, "in_flight"),
        ({"tenant": "a", "requests_per_minute": -1}, "requests_per_minute"), ({"tenant": "a", "x": 1}, "x"),
        ({"tenant": "a", "name": "x" * 201}, "name"),
    ],
)  # fmt: skip
def test_what_a_key_cannot_be(running: Running, body: dict[str, Any], param: str) -> None:
    refused = running.http().post("/v1/keys", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert running.http().get("/v1/keys").json()["data"] == []
