"""Pure ASGI layers around the routes: request id, body limit, tenant and in-flight limits; streams pass through."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preference.errors import AttuneError
from server import logs
from server.errors import BodyTooLarge, render
from server.identity import Identity
from server.limits import Limits

_IMPORT = re.compile("/v1/users/[^/]+/adapters/import")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Answers carry ``X-Request-Id``: the caller's when it is a short plain one, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        logs.request_id.set(request_id)  # for good: the server runs each request in a context of its own

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class BodyLimit:
    """Refuses a body over ``limit`` bytes, an adapter over ``import_limit``, whether or not it announces its length."""

    def __init__(self, app: ASGIApp, limit: int, import_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._import_limit = import_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._import_limit if _IMPORT.fullmatch(scope["path"]) else self._limit
        message = f"The body is over {limit} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > limit:
            return await render(BodyTooLarge(message))(scope, receive, send)
        received = 0

        async def limited() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > limit:
                # The one exception that the framework's body reader lets through.
                raise HTTPException(413, message)
            return part

        await self._app(scope, limited, send)


class Gate:
    """Lets a request to ``/v1`` in: its API key names a tenant, and neither the key nor the server is at its limit.

    Sets ``tenant`` and ``key``, the key's id, in the request's state.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        try:  # a place in the server first: then what unknown keys cost is bounded as well
            self._limits.arrive()
        except AttuneError as error:
            return await render(error)(scope, receive, send)
        try:
            await self._with_key(scope, receive, send)
        finally:
            self._limits.depart()

    async def _with_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity: Identity = scope["app"].state.services.identity
        headers = Headers(scope=scope)
        try:
            key = await identity.key(headers.get("authorization"), headers.get("x-api-key"), scope.get("client"))
            told = self._limits.enter(key)
        except AttuneError as error:
            return await render(error)(scope, receive, send)
        scope["state"]["tenant"], scope["state"]["key"] = key.tenant, key.id

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        try:
            await self._app(scope, receive, send_with_limits if told else send)
        finally:
            self._limits.leave(key)


class RawUserPath:
    """Routes ``/v1/users/...`` by the path as it was sent: an encoded slash in a user id is part of the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/users/") and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)
