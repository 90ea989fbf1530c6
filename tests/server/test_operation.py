"""The server as its operator sees it: the queue, the last hour, who is active."""

import asyncio
import time
from typing import Any

import httpx
from sqlalchemy import update

from server.observability.last_hour import KEPT, LastHour, Sample
from store import job_list, keys
from store.tables import jobs as jobs_table
from tests.server.conftest import Running, Start, ask, closed, until
from tests.server.dialects.test_dialects import AS_ANN


def holding(running: Running, key: str) -> httpx.Client:
    return running.http(headers={"Authorization": f"Bearer {key}"})


def edited(http: httpx.Client, user: str, text: str = "Better") -> str:
    id = http.post("/v1/chat/completions", json=ask(), headers={"X-User-Id": user}).json()["id"]
    body = {"type": "edit", "completion_id": id, "edited_text": text}
    sent = http.post("/v1/feedback", json=body, headers={"X-User-Id": user})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


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
    assert running.services.database.read_now(job_list.failures, 5) == []
