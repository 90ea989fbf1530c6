"""Pure ASGI layers around the routes: request id, body limit, tenant and in-flight limits; streams pass through."""

import re
import uuid
from collections import Counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preference.errors import AttuneError
from server.errors import BodyTooLarge, Overloaded, TooManyRequests, render
from server.identity import Identity

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

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class BodyLimit:
    """Refuses a body over ``limit`` bytes, whether or not it announces its length."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        message = f"The body is over {self._limit} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._limit:
            return await render(BodyTooLarge(message))(scope, receive, send)
        received = 0

        async def limited() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > self._limit:
                # The one exception that the framework's body reader lets through.
                raise HTTPException(413, message)
            return part

        await self._app(scope, limited, send)


class Gate:
    """Lets a request to ``/v1`` in: its key names a tenant, and neither the tenant nor the server is at its limit."""

    def __init__(self, app: ASGIApp, per_tenant: int, total: int) -> None:
        self._app = app
        self._per_tenant = per_tenant
        self._total = total
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        identity: Identity = scope["app"].state.services.identity
        try:
            tenant = await identity.tenant(Headers(scope=scope).get("authorization"))
            if self._in_flight.total() >= self._total:
                raise Overloaded("The server is at its limit; try again shortly.")
            if self._in_flight[tenant] >= self._per_tenant:
                raise TooManyRequests(f"At most {self._per_tenant} requests at a time; try again shortly.")
        except AttuneError as error:
            return await render(error)(scope, receive, send)
        scope["state"]["tenant"] = tenant
        self._in_flight[tenant] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight[tenant] -= 1
            if not self._in_flight[tenant]:
                del self._in_flight[tenant]


class RawUserPath:
    """Routes ``/v1/users/...`` by the path as it was sent: an encoded slash in a user id is part of the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/users/") and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)
