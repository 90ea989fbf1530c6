"""GET /metrics: what the server measured, in Prometheus form."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from server.admission.identity import is_local, is_loopback_host
from server.http.openapi import errors
from server.routes.requests import ServicesOf
from store.errors import NotFound

router = APIRouter(tags=["health"])

_EXAMPLE = """# HELP attune_http_requests_in_flight Requests under way.
# TYPE attune_http_requests_in_flight gauge
attune_http_requests_in_flight 1.0
"""
_TEXT: dict[str, Any] = {
    "description": "Prometheus's text format.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}},
}


@router.get("/metrics", response_class=Response, responses={200: _TEXT, **errors(404)})
async def get_metrics(request: Request, services: ServicesOf) -> Response:
    """Prometheus metrics. `ATTUNE_METRICS` says who may read them: this machine only, everybody, or nobody."""
    allowed, client = services.settings.metrics, request.client
    here = is_loopback_host(request.headers.get("host")) and client is not None and is_local(client)
    if allowed == "off" or (allowed == "loopback" and not here):
        raise NotFound("Metrics are not served to this address: ATTUNE_METRICS says who may read them.")
    await services.gauges.refresh()
    text = await asyncio.to_thread(generate_latest, services.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
