"""The short way into a route: the body is parsed once, straight from its bytes, and nothing else is resolved."""

import codecs
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.dialects import app_headers
from server.dialects.generation import GenerationRequest
from server.http.body import MAX_VALUES, check_values, mistakes
from server.http.legible import check_body
from server.routes.requests import header_user

_NO_JSON = {"type": "model_attributes_type", "loc": ("body",), "msg": "Input should be a valid dictionary"}


class DirectRoute(APIRoute):
    """A route whose endpoint takes a ``GenerationRequest``, the request, and what ``routes/requests.py`` gives.

    The document is made from the endpoint's signature as ever. To resolve that signature at each request takes FastAPI
    longer than all that is ours, so this calls the endpoint itself.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's extension point for what happens to a request."""
        kind: type[GenerationRequest] = self.endpoint.__annotations__["body"]

        async def handle(request: Request) -> Response:
            try:
                raw = await request.body()
            except ClientDisconnect:
                return Response(status_code=499)  # nobody reads it
            body = _parsed(kind, request.headers.get("content-type", ""), raw)
            app_headers.heed(body, request.headers)
            response: Response = await self.endpoint(
                body=body,
                request=request,
                services=request.app.state.services,
                tenant=request.state.tenant,
                header=await header_user(request, request.headers.get("x-user-id")),
            )
            return response

        return handle


def _parsed(kind: type[GenerationRequest], content_type: str, raw: bytes) -> GenerationRequest:
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith("application/") or not media_type.endswith(("/json", "+json")):
        raise RequestValidationError([_NO_JSON])
    if not raw:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    check_values(raw, MAX_VALUES)
    try:
        return kind.parse(raw.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        check_body(raw)
        raise mistakes(error) from error
