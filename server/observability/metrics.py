"""What the server measures about itself, in Prometheus form. Labels are our own words and tenants, never users.

Each measurement is one call where it happens, and costs a few microseconds at most.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http import HTTPMethod
from types import TracebackType
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, Summary

from server.observability.tracing import Tracing

Stage = Literal["load_user", "recall", "engine", "record", "whole"]
"""The parts of a generation: ``recall`` with its embedding; ``engine`` until a stream begins or an answer is there."""

OTHER = "other"
"""The label of what is not told apart: tenants beyond the limit, paths and methods that are no route's."""

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SLOW = (0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_FEW = (0, 1, 2, 3, 5, 10, 20, 50)
_MANY = (0, 1, 5, 10, 50, 100, 500, 1000, 5000, 10000)
_METHODS = frozenset(HTTPMethod)


class _Timed:
    """Times what happens within it, and is the span that it is given; a generator would cost several times as much."""

    __slots__ = ("_histogram", "_span", "_started")

    def __init__(self, histogram: Histogram, span: AbstractContextManager[None]) -> None:
        self._histogram = histogram
        self._span = span
        self._started = time.perf_counter()

    def __enter__(self) -> None:
        self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._histogram.observe(time.perf_counter() - self._started)
        self._span.__exit__(kind, error, trace)


class Metrics:
    """Every measurement of one server, in a registry of its own."""

    def __init__(self, tracing: Tracing, *, tenants: int = 100) -> None:
        """``tenants`` is how many get a label of their own; those after them share ``other``."""
        self.registry = registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self.tracing = tracing
        self._tenant_limit = tenants
        self._tenants: set[str] = set()
        ProcessCollector(registry=registry)
        self._requests = counter(
            "attune_http_requests", "Requests answered, by route template and status.", ("method", "route", "status")
        )
        self._request_seconds = histogram(
            "attune_http_request_duration_seconds",
            "Seconds from a request's arrival to the last byte of its answer.",
            ("method", "route", "status_class"),
            buckets=_FAST,
        )
        self.in_flight = Gauge("attune_http_requests_in_flight", "Requests under way.", registry=registry)
        stage_seconds = histogram(
            "attune_stage_duration_seconds",
            "Seconds in one stage of a generation; of the engine, until the first byte of a stream.",
            ("stage",),
            buckets=_FAST,
        )
        self._stages = {stage: stage_seconds.labels(stage) for stage in get_args(Stage)}
        self._searched = histogram("attune_recall_contexts", "Contexts searched by a recall.", buckets=_MANY)
        self._recalled = histogram("attune_recall_preferences", "Preferences that a recall brought.", buckets=_FEW)
        self._job_seconds = histogram(
            "attune_job_duration_seconds",
            "Seconds that a job ran, by how that ended: done, failed (it may be tried again).",
            ("kind", "outcome"),
            buckets=_SLOW,
        )
        self._feedback = counter(
            "attune_feedback",
            "Feedback: edits as accepted, other kinds by type; then what came of it: learned, nothing_learned, failed.",
            ("status",),
        )
        self._edit_cost = Summary(
            "attune_edit_cost",
            "Normalised word edit distance from draft to edited text of accepted edits; sum / count is the mean.",
            ("tenant",),
            registry=registry,
        )
        self._learning_tokens = counter(
            "attune_learning_tokens",
            "Tokens of the model's calls that edits were studied by, in prompts and in completions.",
            ("tenant", "direction"),
        )
        self._answered_tokens = counter(
            "attune_answer_tokens", "Tokens of answers, in prompts and in completions.", ("tenant", "direction")
        )
        self._refused = counter(
            "attune_limited_requests",
            "Requests that a limit refused, by which and whose it is: a key's, a user's, a tenant's, the server's.",
            ("limit", "of"),
        )
        self._swaps = counter("attune_adapter_swaps", "Changes of a user's adapter.", ("outcome",))
        self._swap_seconds = histogram(
            "attune_adapter_swap_duration_seconds",
            "Seconds to load and probe another adapter, until it served.",
            buckets=_FAST,
        )
        self._restarts = counter("attune_engine_restarts", "Times the engine was started again.")

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered. ``route`` is a template such as ``/v1/feedback/{id}``."""
        method = method if method in _METHODS else OTHER
        self._requests.labels(method, route, status).inc()
        self._request_seconds.labels(method, route, f"{status // 100}xx").observe(seconds)

    def stage(self, name: Stage) -> "_Timed":
        """Time one stage of a request, in a ``with``; where traces are on, it is a span, too."""
        return _Timed(self._stages[name], self.tracing.span(name))

    def took(self, name: Stage, seconds: float) -> None:
        """A stage took so long."""
        self._stages[name].observe(seconds)

    def recalled(self, searched: int, found: int) -> None:
        """A recall searched so many contexts and brought so many preferences."""
        self._searched.observe(searched)
        self._recalled.observe(found)

    @contextmanager
    def job(self, kind: str) -> Iterator[None]:
        """Time one run of a job; where traces are on, it is a trace of its own."""
        started, outcome = time.perf_counter(), "failed"
        try:
            with self.tracing.span(f"{kind} job"):
                yield
            outcome = "done"
        finally:
            self._job_seconds.labels(kind, outcome).observe(time.perf_counter() - started)

    def accepted(self, tenant: str, type: str, cost: float | None) -> None:
        """Feedback was accepted; an edit with what it cost its user."""
        self._feedback.labels("accepted" if type == "edit" else type).inc()
        if cost is not None:
            self._edit_cost.labels(self._named(tenant)).observe(cost)

    def studied(self, tenant: str, prompt: int, completion: int) -> None:
        """An edit was studied, which cost so many tokens."""
        tenant = self._named(tenant)
        self._learning_tokens.labels(tenant, "prompt").inc(prompt)
        self._learning_tokens.labels(tenant, "completion").inc(completion)

    def spent(self, tenant: str, prompt: int, completion: int) -> None:
        """An answer took so many tokens."""
        tenant = self._named(tenant)
        self._answered_tokens.labels(tenant, "prompt").inc(prompt)
        self._answered_tokens.labels(tenant, "completion").inc(completion)

    def refused(self, limit: str, of: str) -> None:
        """A limit was met."""
        self._refused.labels(limit, of).inc()

    def resolved(self, status: str) -> None:
        """Feedback was learned from, or not."""
        self._feedback.labels(status).inc()

    def swapped(self, seconds: float, done: bool) -> None:
        """Another adapter came to serve a user, or could not."""
        self._swaps.labels("done" if done else "failed").inc()
        if done:
            self._swap_seconds.observe(seconds)

    def engine_restarted(self) -> None:
        """The engine went away and is started again."""
        self._restarts.inc()

    def _named(self, tenant: str) -> str:
        """The tenant, or ``other`` beyond the first hundred: series must not grow with tenants."""
        if tenant not in self._tenants:
            if len(self._tenants) >= self._tenant_limit:
                return OTHER
            self._tenants.add(tenant)
        return tenant
