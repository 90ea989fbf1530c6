"""Who asks, keys over the API, jobs, and the server as its operator sees it."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from preference import jobs, keys
from preference.tables import jobs as jobs_table
from server.last_hour import KEPT, LastHour, Sample
from tests.server.conftest import Running, Start, ask, closed, until
from tests.server.test_dialects import AS_ANN


def holding(running: Running, key: str) -> httpx.Client:
    return running.http(headers={"Authorization": f"Bearer {key}"})


def edited(http: httpx.Client, user: str, text: str = "Better") -> str:
    id = http.post("/v1/chat/completions", json=ask(), headers={"X-User-Id": user}).json()["id"]
    body = {"type": "edit", "completion_id": id, "edited_text": text}
    sent = http.post("/v1/feedback", json=body, headers={"X-User-Id": user})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


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


def test_a_tenant_sees_its_own_jobs_newest_first(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    _, one = running.services.database.write_now(keys.create, "one", "test")
    _, two = running.services.database.write_now(keys.create, "two", "test")
    closed(running)
    http, other = holding(running, one), holding(running, two)
    given = [edited(http, user) for user in ("ann", "bob", "ann")]
    edited(other, "ann")
    page = http.get("/v1/jobs", params={"limit": 2}).json()
    assert [(job["user"], job["subject"]) for job in page["data"]] == [("ann", given[2]), ("bob", given[1])]
    assert {job["state"] for job in page["data"]} == {"queued"}
    rest = http.get("/v1/jobs", params={"cursor": page["next_cursor"]}).json()
    assert ([job["subject"] for job in rest["data"]], rest["has_more"]) == ([given[0]], False)
    assert http.get("/v1/jobs", params={"state": "failed"}).json()["data"] == []
    assert len(other.get("/v1/jobs").json()["data"]) == 1
    assert http.get("/v1/jobs", params={"state": "lost"}).status_code == 400


def test_the_operator_sees_the_queue_the_hour_and_what_failed(start: Start) -> None:
    running = start()
    http = running.http()
    given = edited(http, "ann")
    until(lambda: http.get("/v1/status").json()["hour"])
    status = http.get("/v1/status").json()
    assert (status["engine"], [one["ready"] for one in status["engines"]]) == ("ready", [True])
    assert (status["now"]["queued"], status["now"]["failed"], status["failures"]) == (1, 0, [])
    assert status["now"]["in_flight"] >= 1

    def fail(c: Any) -> None:
        c.execute(update(jobs_table).values(state="failed", error="the disk is full"))

    running.services.database.write_now(fail)
    (failure,) = http.get("/v1/status").json()["failures"]
    assert (failure["tenant"], failure["user"], failure["kind"]) == ("local", "ann", "learn")
    assert (failure["subject"], failure["error"]) == (given, "the disk is full")
    assert http.get("/v1/status").json()["now"]["failed"] == 1


def test_an_hour_of_samples_is_kept_and_no_more(running: Running) -> None:
    services = running.services

    async def sampled() -> list[Sample]:
        hour = LastHour(services.database, services.registry, services.metrics.registry, seconds=0)
        task = asyncio.ensure_future(hour.run())
        first = None
        async with asyncio.timeout(60):
            while first is None or hour.samples[0] == first or len(hour.samples) < KEPT:
                await asyncio.sleep(0)
                first = first or next(iter(hour.samples), None)
        task.cancel()
        return hour.samples

    samples = asyncio.run(sampled())
    assert len(samples) == KEPT
    assert [one.at for one in samples] == sorted(one.at for one in samples)


def test_users_say_when_they_were_active(running: Running) -> None:
    http = running.http()
    http.post("/v1/users/bob/preferences", json={"text": "Be brief"})
    before = time.time()
    http.post("/v1/chat/completions", json=ask(), headers=AS_ANN)
    listed = {one["id"]: one["active_at"] for one in http.get("/v1/users").json()["data"]}
    assert listed["bob"] is None
    assert before - 1 <= listed["ann"] <= time.time()


# The curve


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


# Preferences as the console shows and narrows them


def test_a_preference_is_made_one_for_such_requests_alone(start: Start, database_url: str) -> None:
    running = start(database_url=database_url)
    http = running.http(headers=AS_ANN)
    base = "/v1/users/ann/preferences"
    id = http.post(base, json={"text": "Use bullets"}).json()["id"]
    assert http.get(base).json()["data"][0]["kind"] is None
    changed = http.patch(f"{base}/{id}", json={"context": "Write an email to Ann"}).json()
    assert (changed["id"], changed["source"], changed["standing"]) == (id, "stated", "fixed")
    assert http.get(base).json()["data"][0]["kind"] == "Write an email to Ann"

    def found(request: str) -> list[str]:
        return [one["id"] for one in http.post(f"{base}/search", json={"context": request}).json()["data"]]

    assert found("Write an email to Ann") == [id]
    assert found("Completely different words here") == []
    http.patch(f"{base}/{id}", json={"context": "Sum up this review"})
    assert found("Write an email to Ann") == []
    assert [one["text"] for one in http.get(f"{base}/{id}").json()["contexts"]] == ["Sum up this review"]
    assert http.post(base, json={"text": "Use bullets"}).status_code == 200  # always, again
    assert found("Completely different words here") == [id]


def test_preferences_of_one_kind_are_told_by_one_request(running: Running) -> None:
    http = running.http()
    base = "/v1/users/ann/preferences"
    for text, context in (
        ("Greet with Dear", "Write an email to Ann"),
        ("Sign with Bo", "Write an email to Bob"),
        ("Be brief", "Sum up this review"),
        ("No emojis", None),
    ):
        http.post(base, json={"text": text, "context": context} if context else {"text": text})
    kinds = {one["text"]: one["kind"] for one in http.get(base).json()["data"]}
    assert kinds == {
        "Greet with Dear": "Write an email to Ann", "Sign with Bo": "Write an email to Ann",
        "Be brief": "Sum up this review", "No emojis": None,
    }  # fmt: skip


def test_a_preference_says_when_it_was_last_used(running: Running) -> None:
    http = running.http(headers=AS_ANN)
    base = "/v1/users/ann/preferences"
    id = http.post(base, json={"text": "Use bullets"}).json()["id"]
    assert http.get(f"{base}/{id}").json()["used_at"] is None
    answer = http.post("/v1/chat/completions", json=ask()).json()
    assert [one["id"] for one in answer["attune"]["preferences"]] == [id]
    turn = http.get(f"/v1/turns/{answer['id']}").json()
    assert http.get(f"{base}/{id}").json()["used_at"] == turn["created_at"]


@pytest.mark.parametrize("context", ["", "x" * 4001, 1])
def test_what_a_context_cannot_be(running: Running, context: Any) -> None:
    base = "/v1/users/ann/preferences"
    id = running.http().post(base, json={"text": "Use bullets"}).json()["id"]
    refused = running.http().patch(f"{base}/{id}", json={"context": context})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "context")


def test_an_edit_can_be_read_again(running: Running) -> None:
    http = running.http()
    given = edited(http, "ann", "As I sent it")
    assert http.get(f"/v1/feedback/{given}", headers=AS_ANN).json()["edited_text"] == "As I sent it"
    assert http.get(f"/v1/feedback/{given}", headers={"X-User-Id": "bob"}).status_code == 404
    assert "edited_text" not in http.get("/v1/feedback", headers=AS_ANN).json()["data"][0]


def test_jobs_of_erased_users_are_gone(running: Running) -> None:
    http = running.http()
    edited(http, "ann")
    assert len(http.get("/v1/jobs").json()["data"]) == 1
    http.delete("/v1/users/ann")
    assert http.get("/v1/jobs").json()["data"] == []
    assert running.services.database.read_now(jobs.failures, 5) == []
