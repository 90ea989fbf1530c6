"""Pure ASGI layers around the routes: arrival, request id, body limit, tenant and limits; streams pass through."""

import re
import uuid
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.admission import grants
from server.admission.identity import Identity, UserKey
from server.admission.limits import Limits
from server.admission.session import sealed_in
from server.errors import BodyTooLarge, Forbidden, UnsupportedEncoding, render
from server.observability import logs
from store.errors import AttuneError

_VENDORS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models"),
    *("/v1/messages", "/v1/messages/count_tokens"),
)
_NAMES = "|".join(route.removeprefix("/v1/").replace("/", "/+") for route in _VENDORS)
_MISWRITTEN = re.compile(f"/+(?:v1/+){{1,2}}({_NAMES})/*")
_IMPORT = re.compile("/v1/users/[^/]+/(?:adapters/)?import")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=@/+-]{1,128}")


class Arrival:
    """The outermost layer: a path without ``prefix``, which a proxy may leave there, and HEAD as GET.

    Vendors' routes are found where a base URL with a slash or a ``/v1`` too many puts them. Others are not: a name of a
    user that is left out by mistake leaves two slashes as well.

    The server sends no body to HEAD, whatever the routes answer: it looks at its own scope, and this is a copy.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            path = scope["path"].removeprefix(self._prefix) if self._prefix else scope["path"]
            if path not in _VENDORS and (found := _MISWRITTEN.fullmatch(path)):
                plain = "/v1/" + re.sub("/+", "/", found[1])
                scope = {**scope, "path": plain, "raw_path": plain.encode()}
            elif self._prefix and scope["path"].startswith(f"{self._prefix}/"):
                raw = (scope.get("raw_path") or b"").removeprefix(self._prefix.encode())
                scope = {**scope, "path": scope["path"].removeprefix(self._prefix), "raw_path": raw}
        await self._app(scope, receive, send)


class RequestId:
    """Answers and each line of the log carry ``X-Request-Id``: the caller's when it is a plain one, else a new one.

    OpenAI's clients send theirs as ``X-Client-Request-Id``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        given = headers.get("x-request-id") or headers.get("x-client-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        logs.request_id.set(request_id)  # for good: the server runs each request in a context of its own

        await self._app(scope, receive, _with_headers(send, {"X-Request-Id": request_id}))


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sending


_SIGN_IN = 8192
"""Bytes of a body that signs in: a key or a token."""


class BodyLimit:
    """Refuses a body over ``limit`` bytes, an import over ``import_limit``, whether or not it announces its length.

    And a compressed one: what it would unpack to, its length does not say.
    """

    def __init__(self, app: ASGIApp, limit: int, import_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._import_limit = import_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        encoding = Headers(scope=scope).get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            return await render(UnsupportedEncoding(encoding))(scope, receive, send)
        limit = self._import_limit if _IMPORT.fullmatch(scope["path"]) else self._limit
        if scope["path"].endswith("/console/session"):  # anybody may ask for it
            limit = min(limit, _SIGN_IN)
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


class Admission:
    """Lets a request to ``/v1`` or ``/mcp`` in: its API key names a tenant; neither it nor the server is at its limit.

    Sets ``tenant``, ``key``, the key's id, and ``caller``, the key itself, in the request's state. What a request asks
    ``inside`` counts for it.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str] = ()) -> None:
        """``origins`` are those whose pages the operator lets ask: none of them is a foreign one."""
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(("/v1/", "/mcp")):
            return await self._app(scope, receive, send)
        if scope["state"].get("inside"):
            return await self._with_key(scope, receive, send)
        limits: Limits = scope["app"].state.services.limits
        try:  # a place in the server first: then what unknown keys cost is bounded as well
            limits.arrive()
        except AttuneError as error:
            return await render(error)(scope, receive, send)
        try:
            await self._with_key(scope, receive, send)
        finally:
            limits.depart()

    async def _with_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity: Identity = scope["app"].state.services.identity
        limits: Limits = scope["app"].state.services.limits
        headers = Headers(scope=scope)
        try:
            key = await identity.key(
                headers.get("authorization"),
                headers.get("x-api-key"),
                scope.get("client"),
                headers.get("host"),
                None if headers.get("origin") in self._origins else headers.get("origin"),
                sealed_in(headers),
            )
            if isinstance(key, UserKey):
                if not grants.allows(key.scopes, scope["method"], scope["path"]):
                    raise Forbidden("This token of one user does not allow that; an API key does.")
                scope["state"]["user"] = key.user
            entered = None if scope["state"].get("inside") else await limits.enter(key)
        except AttuneError as error:
            return await render(error)(scope, receive, send)
        scope["state"]["tenant"], scope["state"]["key"], scope["state"]["caller"] = key.tenant, key.id, key
        if entered is None:
            return await self._app(scope, receive, send)
        try:
            await self._app(scope, receive, _with_headers(send, entered.headers) if entered.headers else send)
        finally:
            limits.leave(entered)


class RawUserPath:
    """Routes ``/v1/users/...`` by the path as it was sent: an encoded slash in a user id is part of the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/users/") and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("ascii", errors="replace")
        await self._app(scope, receive, send)
