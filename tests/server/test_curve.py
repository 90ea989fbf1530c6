"""The learning curve of a user and of a tenant: what edits cost, and what was learned."""

from typing import Any

import pytest

from store import keys
from tests.server.conftest import Running, Start, ask, closed
from tests.server.dialects.test_dialects import AS_ANN
from tests.server.test_operation import edited, holding


def test_the_curve_of_a_user_has_costs_and_what_was_learned(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    http = running.http()
    assert http.get("/v1/curve", headers=AS_ANN).json() == {
        "object": "curve", "user": "ann", "edits": 0, "points": [], "marks": [],
    }  # fmt: skip
    for text in ("Hello world!", "Good bye to you all", "Hello world!", "Something else"):
        edited(http, "ann", text)
    edited(http, "bob", "Not hers")
    curve = http.get("/v1/curve", headers=AS_ANN).json()
    assert curve["edits"] == 4
    assert [(point["edits"], point["unchanged"]) for point in curve["points"]] == [(1, 1), (1, 0), (1, 1), (1, 0)]
    assert [point["cost"] > 0 for point in curve["points"]] == [False, True, False, True]
    assert [point["completion_tokens"] for point in curve["points"]] == [4] * 4
    halves = http.get("/v1/curve", params={"points": 2, "user": "ann"}).json()["points"]
    assert [(point["edits"], point["unchanged"]) for point in halves] == [(2, 0.5), (2, 0.5)]
    assert halves[0]["until"] < halves[1]["since"]
    everybody = http.get("/v1/curve", params={"of": "tenant"}).json()
    assert (everybody["user"], everybody["edits"], everybody["marks"]) == (None, 5, [])


def test_an_edit_that_was_replaced_is_not_in_the_curve(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    id = http.post("/v1/chat/completions", json=ask()).json()["id"]
    for text in ("First", "Second thoughts", "Hello world!"):
        http.post("/v1/feedback", json={"type": "edit", "completion_id": id, "edited_text": text})
    http.post("/v1/feedback", json={"type": "thumbs", "completion_id": id, "thumb": "up"})
    curve = http.get("/v1/curve").json()
    assert (curve["edits"], curve["points"][0]["cost"]) == (1, 0)


def test_the_curve_of_a_tenant_is_its_own(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    (_, one), (_, two) = (running.services.database.write_now(keys.create, tenant, "test") for tenant in ("one", "two"))
    closed(running)
    edited(holding(running, one), "ann")
    assert holding(running, two).get("/v1/curve", params={"of": "tenant"}).json()["edits"] == 0
    assert holding(running, two).get("/v1/curve", headers=AS_ANN).json()["edits"] == 0
    assert holding(running, one).get("/v1/curve", params={"of": "tenant"}).json()["edits"] == 1


@pytest.mark.parametrize("query", [{}, {"points": 0}, {"points": 201}, {"of": "all"}, {"user": "a\0"}])
def test_what_a_curve_cannot_be_of(running: Running, query: dict[str, Any]) -> None:
    assert running.http().get("/v1/curve", params=query).status_code == 400
