"""Domain error → status and OpenAI envelope: one table, and the handlers that use it."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from store.database import StoreUnavailable
from store.errors import (
    AttuneError,
    Conflict,
    EngineRejected,
    EngineUnavailable,
    IdempotencyConflict,
    Invalid,
    NotFound,
)
from store.feedback_kinds import Type

log = logging.getLogger(__name__)


class StartRefused(AttuneError):
    """The server cannot start as it is set up; the message is one sentence saying what to do."""

    code = "start_refused"


class Unauthorized(AttuneError):
    """No key, an unknown key or a revoked one."""

    code = "invalid_api_key"


class Forbidden(AttuneError):
    """A token of one user asked for what it does not allow."""

    code = "forbidden"


class ModelNotFound(NotFound):
    """The request names a model that is not served here."""

    code = "model_not_found"

    def __init__(self, asked: str, served: str) -> None:
        super().__init__(f"The model {asked!r} does not exist; this server has {served!r}.", param="model")


class BodyTooLarge(AttuneError):
    """The request body is over the limit."""

    code = "body_too_large"


class UnsupportedEncoding(AttuneError):
    """The body is compressed."""

    code = "unsupported_encoding"

    def __init__(self, encoding: str) -> None:
        super().__init__(f"Send the body as it is: Content-Encoding {encoding[:40]!r} is not taken.")


class TooManyRequests(AttuneError):
    """The API key is at a limit of its own; ``headers`` say which, and when it may ask again."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: int = 1, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = {**(headers or {}), "Retry-After": str(retry_after)}


class QuotaExceeded(AttuneError):
    """The tenant keeps as much as it may."""

    code = "insufficient_quota"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"This tenant keeps the {limit:,} bytes that it may: erase users or feedback, or ask with store: false."
        )


class Overloaded(EngineUnavailable):
    """The server as a whole has too many requests under way."""

    code = "overloaded"


# The first entry whose class fits decides; OpenAI's clients choose their exception by the status.
_TABLE: Sequence[tuple[type[AttuneError], int, str]] = (
    (Unauthorized, 401, "authentication_error"),
    (Forbidden, 403, "permission_error"),
    (QuotaExceeded, 403, "insufficient_quota"),
    (NotFound, 404, "invalid_request_error"),
    (IdempotencyConflict, 422, "invalid_request_error"),
    (Conflict, 409, "invalid_request_error"),
    (BodyTooLarge, 413, "invalid_request_error"),
    (UnsupportedEncoding, 415, "invalid_request_error"),
    (TooManyRequests, 429, "rate_limit_error"),
    (EngineUnavailable, 503, "server_error"),
    (StoreUnavailable, 503, "server_error"),
    (EngineRejected, 400, "invalid_request_error"),
    (Invalid, 400, "invalid_request_error"),
)
_PLACES = ("body", "query", "path", "header")
# Pydantic's names of a union's members; those of feedback, which come first, are called by their type.
_FORM = re.compile(r"str|int|float|bool|function-\w+\(.*|[A-Z]\w*|\w+\[.*")
_KINDS = frozenset(get_args(Type))
_RETRY_AFTER = {503: "2"}


def envelope(message: str, kind: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """The OpenAI error body."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":")).encode()


def status_of(error: AttuneError) -> tuple[int, str]:
    """HTTP status and OpenAI error type of a domain error."""
    for cls, status, kind in _TABLE:
        if isinstance(error, cls):
            return status, kind
    return 400, "invalid_request_error"


def body_of(error: AttuneError) -> bytes:
    """The OpenAI error body of a domain error."""
    return envelope(error.message, status_of(error)[1], param=error.param, code=error.code)


def render(error: AttuneError) -> Response:
    """A domain error as a response."""
    if isinstance(error, StoreUnavailable):
        log.warning("a request failed: %s", error)  # what it tells operators
    status = status_of(error)[0]
    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else {}
    if isinstance(error, TooManyRequests):
        headers |= error.headers
    if status == 415:
        headers["Accept-Encoding"] = "identity"
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json(status, body_of(error), headers)


def install(app: FastAPI) -> None:
    """Give every error of ``app`` the OpenAI envelope."""
    app.exception_handler(AttuneError)(_domain)
    app.exception_handler(RequestValidationError)(_validation)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(Exception)(_unexpected)


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def _domain(request: Request, error: AttuneError) -> Response:
    return render(error)


async def _validation(request: Request, error: RequestValidationError) -> Response:
    message, param = describe(error.errors())
    if param is None and not request.headers.get("content-type", "").startswith("application/json"):
        message = "Send the body as JSON, with the header Content-Type: application/json."
    return _json(400, envelope(message, "invalid_request_error", param=param, code="invalid_value"))


async def _http(request: Request, error: HTTPException) -> Response:
    phrases = {
        404: (f"No such route: {request.method} {request.url.path}", "not_found"),
        405: (f"{request.method} is not allowed on {request.url.path}", "method_not_allowed"),
        413: (str(error.detail), BodyTooLarge.code),
    }
    message, code = phrases.get(error.status_code, (str(error.detail), HTTPStatus(error.status_code).name.lower()))
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the framework names the methods of the path's first route alone
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return _json(error.status_code, envelope(message, kind, code=code), headers)


def _methods(request: Request) -> set[str]:
    """The methods of the routes that have the request's path."""
    path = getattr(request.scope.get("route"), "path", None)
    routes = (route for route in request.app.routes if isinstance(route, Route) and route.path == path)
    methods = {method for route in routes for method in route.methods or ()}
    return methods | {"HEAD"} if "GET" in methods else methods


async def _unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the exception again after this response: uvicorn logs it with its trace.
    body = envelope("Something went wrong here; the log has it under this request id.", "server_error", code="internal")
    request_id = request.scope.get("state", {}).get("request_id", "")
    # uvicorn then closes the connection: a client that is told so does not lose its next request on it.
    return _json(500, body, {"X-Request-Id": request_id, "Connection": "close"})


def describe(errors: Sequence[Any]) -> tuple[str, str | None]:
    """The most telling of pydantic's errors as a sentence, and the dotted path of the field it is about."""
    # Of a field that takes one form or another, the error deepest inside belongs to the form that was meant.
    first = max((error for error in errors if error["loc"][:2] == errors[0]["loc"][:2]), key=lambda e: len(e["loc"]))
    loc = first["loc"]
    if len(loc) > 2 and loc[0] == "body" and loc[1] in _KINDS:  # a field may have the same name
        loc = (loc[0], *loc[2:])
    place = [part for part in loc if part not in _PLACES and not _FORM.fullmatch(str(part))]
    if first["type"] == "json_invalid":
        return f"The body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}", None
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):  # the field that says which form it is
        place.append(first["ctx"]["discriminator"].strip("'"))
    param = ".".join(str(part) for part in place) or None
    if first["type"] == "extra_forbidden":
        return f"Unknown or forbidden field: {param}", param
    if first["type"] in ("missing", "union_tag_not_found"):
        return (f"Missing field: {param}" if param else "The body is missing."), param
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "union_tag_invalid":  # pydantic's own repeats what was sent
        message = f"Input should be one of {first['ctx']['expected_tags']}"
    return (f"{param}: {message}" if param else message), param
