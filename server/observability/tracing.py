"""OpenTelemetry traces, where a setting asks for them; without it nothing is imported and nothing is done.

A span says what ran, how long and how it ended. No text of a user, no user id and no exception's message is in one.
"""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from server.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanKind

_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CLOSE_SECONDS = 2.0
"""Seconds that a stopping server waits for a collector that does not answer."""


class Tracing:
    """No traces: the default. ``OtlpTracing`` has the same methods."""

    def request(self, scope: Scope) -> AbstractContextManager[None]:
        """The span of an HTTP request: a child of the caller's, where it sent a W3C ``traceparent``."""
        return nullcontext()

    def span(self, name: str) -> AbstractContextManager[None]:
        """A span within the one that runs now, or the first of a trace."""
        return nullcontext()

    def tell(self, name: str, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """Name the span that runs now, say what it was, and whether it failed."""

    def headers(self) -> dict[str, str]:
        """The W3C headers that make a receiver's spans children of the one that runs now."""
        return {}

    async def close(self) -> None:
        """Send what is still unsent, within a few seconds."""


class OtlpTracing(Tracing):
    """Traces, sent in batches from a bounded queue by a thread of their own; the SDK's ``OTEL_*`` variables apply."""

    def __init__(self, exporter: "SpanExporter") -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "attune"}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("attune")
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def request(self, scope: Scope) -> AbstractContextManager[None]:
        """See ``Tracing``."""
        caller = self._propagator.extract(dict(Headers(scope=scope)))
        return self._started("HTTP", self._trace.SpanKind.SERVER, caller)

    def span(self, name: str) -> AbstractContextManager[None]:
        """See ``Tracing``."""
        return self._started(name, self._trace.SpanKind.INTERNAL)

    def tell(self, name: str, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """See ``Tracing``."""
        span = self._trace.get_current_span()
        span.update_name(name)
        span.set_attributes(attributes)
        if failed:
            span.set_status(self._trace.StatusCode.ERROR)

    def headers(self) -> dict[str, str]:
        """See ``Tracing``."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    async def close(self) -> None:
        """See ``Tracing``."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _CLOSE_SECONDS)

    @contextmanager
    def _started(self, name: str, kind: "SpanKind", parent: "Context | None" = None) -> Iterator[None]:
        # The SDK would keep an exception's message and its trace, which may quote a user's text.
        with self._tracer.start_as_current_span(
            name, context=parent, kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                if isinstance(error, Exception):  # a cancelled one did not fail
                    span.set_status(self._trace.StatusCode.ERROR)
                raise


def tracing(settings: Settings) -> Tracing:
    """Traces where ``ATTUNE_OTLP_ENDPOINT`` or OpenTelemetry's own variables name a collector, else none."""
    if settings.otlp_endpoint is None and not any(os.environ.get(name) for name in _STANDARD):
        return Tracing()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = settings.otlp_endpoint and f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    return OtlpTracing(OTLPSpanExporter(endpoint=endpoint))
