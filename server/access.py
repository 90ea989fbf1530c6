"""Each request is seen once here, from outside: a measurement, a span, a line in the log."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.observability.logs import access
from server.observability.metrics import OTHER
from server.services import Services

_PROBES = ("/health", "/ready", "/metrics")  # asked every few seconds by machines


class Access:
    """Pure ASGI; a stream is over with its last byte. A path may hold a user id: its route's template stands for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        services: Services = scope["app"].state.services
        started = time.perf_counter()
        status = 500  # an error that nobody expected is rendered outside of here

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with services.metrics.in_flight.track_inprogress(), services.tracing.request(scope):
            try:
                await self._app(scope, receive, watched)
            finally:
                _tell(services, scope, status, time.perf_counter() - started)


def _tell(services: Services, scope: Scope, status: int, seconds: float) -> None:
    # The path of a route has its parameters unfilled; a limit or a wrong path may have kept a request from any.
    method, route = scope["method"], getattr(scope.get("route"), "path", OTHER)
    tenant = scope["state"].get("tenant")
    services.metrics.answered(method, route, status, seconds)
    attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    services.tracing.tell(f"{method} {route}", attributes, failed=status >= 500)
    level = logging.DEBUG if route in _PROBES else logging.INFO
    if access.isEnabledFor(level):
        told = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), "tenant": tenant}
        access.log(level, "%s %s %d %.6f s, tenant %s", *told.values(), extra=told)
