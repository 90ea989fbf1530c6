"""What the OpenAPI document says besides the routes: errors in OpenAI's envelope, and how to authorise."""

from typing import Any

from fastapi import FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, Field

DESCRIPTION = """
OpenAI's API, answered in each end user's own way. Send what a user made of an answer to `POST /v1/feedback`: the next
similar request knows it.

* **Who asks.** `Authorization: Bearer <API key>` names the tenant. The end user is `X-User-Id`, else
  `safety_identifier`, `user` or `metadata.user_id` in the body; without one nothing is stored, and only the request's
  own values apply.
* **Errors** have OpenAI's envelope, and an `X-Request-Id` that the server's log has, too. 429 and 503 say in
  `Retry-After` when to come back.
"""

_BEARER = HTTPBearer(auto_error=False, description="An API key of `attune keys create`.")
_HEADER = APIKeyHeader(name="x-api-key", auto_error=False, description="The same key, as Anthropic's clients send it.")
SECURITY = [Security(_BEARER), Security(_HEADER)]
"""Documents the two headers; `Admission` in `middleware.py` asks for them."""


class Error(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str = Field(description="A sentence for the developer.")
    type: str = Field(description="The class of the error, OpenAI's name for it.")
    param: str | None = Field(description="The field that it is about.")
    code: str | None = Field(description="A word for programs.")


class ErrorResponse(BaseModel):
    """Every error of this server."""

    error: Error


# Status: what it means; an example's message, param and code.
_ERRORS: dict[int, tuple[str, str, str | None, str]] = {
    400: ("A field is wrong", "n: Input should be a valid integer", "n", "invalid_value"),
    401: ("No API key, or a wrong one", "The API key is unknown or revoked.", None, "invalid_api_key"),
    403: ("A token of one user does not allow it", "This token is another user's.", "user", "forbidden"),
    404: ("Not there, for this user", "Nothing is held about this user.", "user", "not_found"),
    405: ("Not a method of this path", "PUT is not allowed on /v1/models", None, "method_not_allowed"),
    408: ("The request did not arrive in time", "The request did not arrive in time.", None, "request_timeout"),
    409: ("Against what is there", "Adapter version 3 is already being made.", "version", "conflict"),
    413: ("The body is too large", "The body is over 4194304 bytes.", None, "body_too_large"),
    415: (
        "The body is compressed",
        "Send the body as it is: Content-Encoding 'gzip' is not taken.",
        None,
        "unsupported_encoding",
    ),
    422: (
        "The Idempotency-Key came with another body before",
        "this Idempotency-Key was used with another body",
        "Idempotency-Key",
        "idempotency_conflict",
    ),
    429: (
        "The API key is at its limit",
        "At most 64 requests at a time; try again shortly.",
        None,
        "rate_limit_exceeded",
    ),
    503: (
        "The engine, the database or the whole server is busy or away",
        "The engine is loading or restarting; try again shortly.",
        None,
        "engine_unavailable",
    ),
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` for these statuses, each with the envelope; ``install`` adds the examples."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        headers = {"headers": _RETRY_AFTER} if status in (429, 503) else {}
        documented[status] = {"model": ErrorResponse, "description": f"{_ERRORS[status][0]}.", **headers}
    return documented


ALWAYS = errors(400, 401, 403, 408, 413, 415, 429, 503)
"""What every request under ``/v1`` may get."""


def install(app: FastAPI, prefix: str = "") -> None:
    """Give ``app`` its document: FastAPI's own, with an example for each error, without the errors of FastAPI.

    ``prefix`` is where a proxy has put the server.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=[{"url": prefix}] if prefix else None,
            )
            app.openapi_schema = _with_our_errors(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the documented way to change it


def _with_our_errors(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        for status, response in list(operation["responses"].items()):
            told = response.get("content", {}).get("application/json", {})
            refers = told.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if refers == "HTTPValidationError":
                del operation["responses"][status]  # it would be a 400 here
            elif refers == "ErrorResponse":
                told["example"] = {"error": _example(int(status))}  # not earlier: FastAPI drops nulls
    return document


def _example(status: int) -> dict[str, Any]:
    _, message, param, code = _ERRORS[status]
    kind = _TYPES.get(status, "invalid_request_error")
    return Error(message=message, type=kind, param=param, code=code).model_dump()
