"""Traces as a collector gets them, from a real server over OTLP."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from preference import preferences
from server.settings import Settings
from store import users
from store.owner import Owner
from tests.server.conftest import Running, Start, ask, serving, until
from tests.server.fake_engine import FakeEngine, Script

CANARY = "canary-51c0"
ANN = Owner("local", CANARY)
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-User-Id": CANARY}


class Collector:
    """A tiny OTLP receiver."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> Span:
        """The one span of that name."""
        span: Span
        (span,) = until(lambda: [span for span in self.spans if span.name == name])
        return span


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
    thread.join(10)


def attributes(span: Span) -> dict[str, str | int]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def generate(running: Running, **more: Any) -> int:
    return running.http().post("/v1/chat/completions", json=ask(CANARY, **more), headers=HEADERS).status_code


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_is_one_trace_from_caller_to_engine(start: Start, collector: Collector, stream: bool) -> None:
    running = start(otlp_endpoint=collector.url + "/")
    running.services.database.write_now(users.ensure, ANN)
    running.services.database.write_now(preferences.create, ANN, f"Say {CANARY}", "stated")
    assert generate(running, stream=stream) == 200
    request = collector.named("POST /v1/chat/completions")
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == CALLER
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
    }
    for stage in ("load_user", "recall", "engine", "record"):
        span = collector.named(stage)
        assert span.trace_id.hex() == TRACE, stage
        assert span.parent_span_id == request.span_id, stage
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    engine = collector.named("engine")
    assert running.engine.headers[0]["traceparent"] == f"00-{TRACE}-{engine.span_id.hex()}-01"


def test_a_failed_request_is_an_error_without_its_message(start: Start, collector: Collector) -> None:
    running = start(otlp_endpoint=collector.url)
    running.engine.enqueue(Script(status=500, error=CANARY))
    assert generate(running) == 503
    request = collector.named("POST /v1/chat/completions")
    assert request.status.code == Status.STATUS_CODE_ERROR
    assert collector.named("engine").status.code == Status.STATUS_CODE_ERROR
    assert attributes(collector.named("engine")) == {"error.type": "EngineFailed"}
    assert not any(span.events for span in collector.spans)


def test_learning_is_a_trace_of_its_own(start: Start, collector: Collector) -> None:
    running = start(otlp_endpoint=collector.url, worker_in_process=True)
    answer = running.http().post("/v1/chat/completions", json=ask(CANARY), headers=HEADERS).json()
    body = {"type": "edit", "completion_id": answer["id"], "edited_text": CANARY}
    assert running.http().post("/v1/feedback", json=body, headers=HEADERS).status_code == 202
    job = collector.named("learn job")
    assert job.trace_id.hex() != TRACE
    assert not job.parent_span_id


def test_a_wrong_traceparent_starts_a_new_trace(start: Start, collector: Collector) -> None:
    running = start(otlp_endpoint=collector.url)
    running.http().get("/v1/models", headers={"traceparent": f"00-{CANARY}-01"})
    span = collector.named("GET /v1/models")
    assert not span.parent_span_id


def test_what_is_unsent_is_sent_at_the_end_and_tells_nothing_of_users(
    engine: FakeEngine, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)  # instead of our own setting
    with serving(Settings(engine_url=engine.url, data_dir=tmp_path), engine) as running:
        running.services.database.write_now(users.ensure, ANN)
        running.services.database.write_now(preferences.create, ANN, f"Say {CANARY}", "stated")
        assert generate(running) == 200
        assert generate(running, **{CANARY: CANARY}) == 400
        running.http().get(f"/v1/users/{CANARY}/values?{CANARY}={CANARY}")
        running.http().get(f"/{CANARY}")
        assert not collector.spans
    assert {span.name for span in collector.spans} >= {"POST /v1/chat/completions", "GET other"}
    assert CANARY.encode() not in b"".join(collector.bodies)


def test_a_collector_that_is_away_harms_nothing(start: Start) -> None:
    running = start(otlp_endpoint="http://127.0.0.1:1")
    assert generate(running) == 200


def test_without_the_setting_nothing_is_traced_nor_imported(running: Running) -> None:
    assert generate(running) == 200
    assert "traceparent" not in {name.lower() for name in running.engine.headers[0]}
    # The SDK of MCP imports the API of OpenTelemetry, which does nothing by itself.
    code = "import sys, server.app, server.services; print([m for m in sys.modules if 'opentelemetry.sdk' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
