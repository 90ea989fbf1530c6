"""What /metrics says after things happened, who may read it, and that nothing in it grows or tells of users."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from preference import preferences
from preference.feedback import feedback
from server.observability.metrics import OTHER, Metrics
from server.observability.tracing import Tracing
from store import job_list, jobs, keys, users
from store.owner import Owner
from store.tables import jobs as jobs_table
from tests.server.conftest import UNEXPLAINED, Running, Start, ask, until
from tests.server.dialects.test_chat import publish
from tests.server.fake_engine import Script

ANN = Owner("local", "ann")
AS_ANN = {"X-User-Id": "ann"}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(where: Running | Metrics, name: str, **labels: Any) -> float | None:
    if isinstance(where, Metrics):
        return where.registry.get_sample_value(name, {key: str(label) for key, label in labels.items()})
    answer = where.http().get("/metrics")
    assert answer.status_code == 200, answer.text
    return samples(answer.text).get((name, tuple(sorted((key, str(label)) for key, label in labels.items()))))


def chat(running: Running, **more: Any) -> str:
    answer = running.http().post("/v1/chat/completions", json=ask(**more), headers=AS_ANN)
    answer.raise_for_status()
    return "" if more.get("stream") else str(answer.json()["id"])


def test_requests_are_counted_by_route_method_and_status(running: Running) -> None:
    completion = chat(running)
    http = running.http()
    http.get(f"/v1/turns/{completion}", headers=AS_ANN)
    http.get("/v1/turns/unknown", headers=AS_ANN)
    http.get("/v1/users/ann%2Fsmith/values")
    http.get("/nowhere")
    http.put("/v1/models")

    def count(method: str, route: str, status: int) -> float | None:
        return value(running, "attune_http_requests_total", method=method, route=route, status=status)

    assert count("POST", "/v1/chat/completions", 200) == 1
    assert count("GET", "/v1/turns/{completion_id}", 200) == 1
    assert count("GET", "/v1/turns/{completion_id}", 404) == 1
    assert count("GET", "/v1/users/{user}/values", 404) == 1
    assert count("GET", OTHER, 404) == 1
    assert count("PUT", "/v1/models", 405) == 1
    seconds = "attune_http_request_duration_seconds_count"
    assert value(running, seconds, method="GET", route="/v1/turns/{completion_id}", status_class="4xx") == 1
    assert value(running, "attune_http_requests_in_flight") == 1  # this one


def test_refused_and_failed_requests_are_counted(running: Running) -> None:
    running.services.database.write_now(keys.create, "acme", "k")
    until(lambda: running.http().get("/v1/models").status_code == 401)
    assert value(running, "attune_http_requests_total", method="GET", route=OTHER, status=401) == 1


def test_an_error_that_nobody_expected_is_counted(running: Running) -> None:
    running.services.database.close()
    assert running.http().get("/v1/users/ann/values").status_code == 500
    metrics = running.services.metrics
    route = "/v1/users/{user}/values"
    assert value(metrics, "attune_http_requests_total", method="GET", route=route, status=500) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_stages_of_a_generation(running: Running, stream: bool) -> None:
    running.engine.enqueue(Script(delay=0.01), Script(delay=0.01))
    running.services.database.write_now(users.ensure, ANN)
    running.services.database.write_now(preferences.create, ANN, "Use bullets", "stated")
    for _ in range(2):
        chat(running, stream=stream)
    for stage in ("load_user", "recall", "engine", "record", "whole"):
        assert value(running, "attune_stage_duration_seconds_count", stage=stage) == 2, stage
    whole, engine = (value(running, "attune_stage_duration_seconds_sum", stage=s) for s in ("whole", "engine"))
    assert whole is not None
    assert engine is not None
    assert whole > engine > 0
    assert value(running, "attune_recall_preferences_sum") == 2
    assert value(running, "attune_recall_contexts_sum") == 0


def test_recall_tells_how_many_contexts_it_searched(running: Running) -> None:
    for context in ("Write an email to Ann", "Sum these prices"):
        stated = {"text": f"Be brief in {context}", "context": context}
        assert running.http().post("/v1/users/ann/preferences", json=stated).status_code == 201
    chat(running)
    assert value(running, "attune_recall_contexts_sum") == 2
    assert value(running, "attune_recall_preferences_sum") == 1


def test_the_edit_cost_of_a_tenant_is_that_of_its_accepted_feedback(running: Running) -> None:
    costs = []
    for text in ("Hello world!", "Something else entirely"):
        body = {"type": "edit", "completion_id": chat(running), "edited_text": text}
        for _ in range(2):  # the second is a repeat
            answer = running.http().post("/v1/feedback", json=body, headers={**AS_ANN, "Idempotency-Key": text})
            assert answer.status_code == 202
        costs.append(answer.json()["cost"])
    thumbs = {"type": "thumbs", "completion_id": chat(running), "thumb": "up"}
    assert running.http().post("/v1/feedback", json=thumbs, headers=AS_ANN).status_code == 202
    assert value(running, "attune_feedback_total", status="thumbs") == 1
    assert value(running, "attune_edit_cost_count", tenant="local") == 2
    assert value(running, "attune_edit_cost_sum", tenant="local") == pytest.approx(sum(costs))
    assert value(running, "attune_feedback_total", status="accepted") == 2
    assert (value(running, "attune_jobs", kind="learn", state="queued")) == 2


def test_what_came_of_feedback(start: Start) -> None:
    running = start(worker_in_process=True)
    body = {"type": "edit", "completion_id": chat(running), "edited_text": "Hello world!"}
    running.http().post("/v1/feedback", json=body, headers=AS_ANN)
    until(lambda: value(running, "attune_feedback_total", status="nothing_learned") == 1)
    assert value(running, "attune_job_duration_seconds_count", kind="learn", outcome="done") == 1
    running.engine.enqueue(*[Script(status=400, error="it does not like it")] * 20)
    body = {"type": "edit", "completion_id": "", "edited_text": UNEXPLAINED}
    other = running.services.database
    completion = other.read_now(lambda c: feedback.page(c, ANN))[0].completion_id
    running.http().post("/v1/feedback", json={**body, "completion_id": completion}, headers=AS_ANN)
    until(lambda: value(running, "attune_feedback_total", status="failed") == 1)
    assert value(running, "attune_job_duration_seconds_count", kind="learn", outcome="failed") == 1


def test_the_queue_is_counted_from_rows(running: Running) -> None:
    def fill(c: Any) -> None:
        users.ensure(c, ANN)
        for number, (kind, state) in enumerate([("learn", "queued"), ("learn", "failed"), ("train", "running")]):
            jobs.enqueue(c, ANN, kind, str(number))
            c.execute(update(jobs_table).where(jobs_table.c.subject == str(number)).values(state=state))
        c.execute(update(jobs_table).where(jobs_table.c.state == "queued").values(created_at=time.time() - 100))

    running.services.database.write_now(fill)
    assert value(running, "attune_jobs", kind="learn", state="queued") == 1
    assert value(running, "attune_jobs", kind="learn", state="failed") == 1
    assert value(running, "attune_jobs", kind="train", state="running") == 1
    age = value(running, "attune_job_oldest_age_seconds", kind="learn")
    assert age is not None
    assert age >= 100
    assert value(running, "attune_store_up") == 1


def test_a_count_of_rows_is_bounded(running: Running) -> None:
    def fill(c: Any) -> job_list.Backlog:
        users.ensure(c, ANN)
        for number in range(20):
            jobs.enqueue(c, ANN, "learn", str(number))
        return job_list.backlog(c, 7)

    assert running.services.database.write_now(fill).counts == {("learn", "queued"): 7}


def test_without_a_store_no_old_figure_is_shown(start: Start) -> None:
    running = start()
    running.services.database.write_now(lambda c: (users.ensure(c, ANN), jobs.enqueue(c, ANN, "learn", "1")))
    path = Path(running.services.database.url.database or "")
    running.services.database._engine.dispose()
    path.rename(path.with_name("away.db"))
    path.mkdir()  # a folder opens as no database
    assert value(running, "attune_store_up") == 0
    assert value(running, "attune_jobs", kind="learn", state="queued") is None


def test_adapters_and_their_swaps(running: Running, tmp_path: Path) -> None:
    publish(running, 1, "adapter", tmp_path)
    http = running.http()
    assert http.post("/v1/users/ann/adapters/1/activate").status_code == 200
    assert value(running, "attune_adapters_loaded") == 1
    assert value(running, "attune_adapters_serving") == 1
    assert value(running, "attune_adapter_versions", state="ready") == 1
    assert value(running, "attune_adapter_versions_active") == 1
    assert value(running, "attune_adapter_swaps_total", outcome="done") == 1
    assert value(running, "attune_adapter_swap_duration_seconds_count") == 1
    assert http.post("/v1/users/ann/adapters/1/activate").status_code == 200
    assert value(running, "attune_adapter_swaps_total", outcome="done") == 1  # it served already
    assert http.post("/v1/users/ann/adapters/0/activate").status_code == 200
    user = running.services.database.read_now(users.get, ANN)
    assert user is not None
    running.services.directories.remove(user.opaque_id, 1)
    assert http.post("/v1/users/ann/adapters/1/activate").status_code == 404
    assert value(running, "attune_adapter_swaps_total", outcome="failed") == 1


def test_the_engines_state(start: Start) -> None:
    assert value(start(), "attune_engine_state", state="ready") == 1
    away = start(engine_url="http://127.0.0.1:1", served_model_name="m")
    assert value(away, "attune_engine_state", state="unreachable") == 1
    assert value(away, "attune_engine_state", state="ready") == 0
    away.services.metrics.engine_restarted()
    assert value(away, "attune_engine_restarts_total") == 1


@pytest.mark.parametrize(
    ("allowed", "client", "status"),
    [
        ("loopback", None, 200),
        ("loopback", "203.0.113.7", 404),
        ("loopback", "not an address", 404),
        ("all", "203.0.113.7", 200),
        ("off", None, 404),
    ],
)
def test_who_may_read_it(start: Start, allowed: str, client: str | None, status: int) -> None:
    running = start(metrics=allowed)
    headers = {"X-Forwarded-For": client} if client else {}  # the server believes a proxy on this machine
    answer = running.http().get("/metrics", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    else:
        assert "ATTUNE_METRICS" in answer.json()["error"]["message"]


def test_nothing_of_a_user_is_in_it(running: Running) -> None:
    canary = "canary-7f3a"
    http: httpx.Client = running.http()
    headers = {"X-User-Id": canary, "X-Request-Id": canary}
    http.post("/v1/chat/completions", json=ask(canary), headers=headers)
    http.post("/v1/chat/completions", json={**ask(), canary: canary}, headers=headers)
    http.get(f"/v1/users/{canary}/values?{canary}={canary}")
    http.get(f"/{canary}")
    http.request(canary.upper().replace("-", ""), "/v1/models")
    assert "canary" not in http.get("/metrics").text.lower()


def test_labels_are_bounded() -> None:
    metrics = Metrics(Tracing(), tenants=2)
    for tenant in "abcab":
        metrics.accepted(tenant, "edit", 0.5)
    counts = {tenant: value(metrics, "attune_edit_cost_count", tenant=tenant) for tenant in ("a", "b", "c", OTHER)}
    assert counts == {"a": 2, "b": 2, "c": None, OTHER: 1}
    metrics.answered("BREW", "/v1/models", 200, 0.1)
    assert value(metrics, "attune_http_requests_total", method=OTHER, route="/v1/models", status=200) == 1


def test_the_document_names_every_metric(running: Running) -> None:
    text = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
    families = text_string_to_metric_families(running.http().get("/metrics").text)
    served = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    ours = {name for name in served if name.startswith("attune_") and not name.endswith("_created")}
    named = re.findall(r"^\| (`attune_[^|]*)\|", text, re.MULTILINE)
    assert {name for cell in named for name in re.findall(r"`(attune_\w+)`", cell)} == ours


def test_names_follow_prometheus(running: Running) -> None:
    chat(running)
    families = list(text_string_to_metric_families(running.http().get("/metrics").text))
    ours = [family for family in families if not family.name.startswith("process_")]
    assert len(ours) > 15
    for family in ours:
        assert re.fullmatch(r"attune_[a-z_]+", family.name)
        assert family.documentation
        if "duration" in family.name or "age" in family.name:
            assert family.name.endswith(("_seconds", "_seconds_created")), family.name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{family.name}_total"}


def test_what_learning_cost_is_counted_by_tenant(start: Start) -> None:
    running = start(worker_in_process=True)
    completion = chat(running)
    edit = {"type": "edit", "completion_id": completion, "edited_text": UNEXPLAINED}
    sent = running.http().post("/v1/feedback", json=edit, headers=AS_ANN)
    id = sent.json()["id"]
    until(lambda: running.http().get(f"/v1/feedback/{id}", headers=AS_ANN).json()["status"] != "pending")
    for direction in ("prompt", "completion"):
        assert (value(running, "attune_learning_tokens_total", tenant="local", direction=direction) or 0) > 0
