"""The API called from inside: a request to a route by the caller of another, which has the same guards."""

from collections.abc import Mapping
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

_CREDENTIALS = (
    *("authorization", "x-api-key", "host", "origin", "x-user-id"),
    *("cookie", "sec-fetch-site", "referer"),  # a browser's session
)


class CallRefused(Exception):
    """The route answered with an error; the message is its sentence for the caller, ``param`` what it is about."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


async def call(
    request: Request, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
) -> Any:
    """What a route answers to ``request``'s caller: its JSON. Raises ``CallRefused``.

    The same key or token is looked at again, so that scopes hold; limits counted the outer request already.
    """
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    headers["x-request-id"] = request.scope["state"]["request_id"]
    # A user's name may be any UTF-8, which httpx sends as it is when it comes as bytes.
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    client = (request.client.host, request.client.port) if request.client else ("127.0.0.1", 0)
    transport = httpx.ASGITransport(_counted_already(request.app), raise_app_exceptions=False, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://inside", trust_env=False) as api:
        request_ = api.build_request(method, path, json=json, params=params, headers=raw)
        if request_.url.raw_path.partition(b"?")[0] != path.encode():  # an id of dots would climb to another route
            raise CallRefused("No such id.")
        answer = await api.send(request_)
    if answer.is_success:
        return answer.json()
    error = answer.json()["error"]
    raise CallRefused(error["message"], error["param"] if answer.status_code == 404 else None)


def _counted_already(app: ASGIApp) -> ASGIApp:
    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"inside": True}
        await app(scope, receive, send)

    return inside
