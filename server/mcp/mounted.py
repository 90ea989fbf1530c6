"""/mcp: the tools over streamable HTTP, without sessions: each request says whose it is, and nothing is kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from server.mcp.tools import make

PATH = "/mcp"


class Mounted:
    """The endpoint. Each application that serves it enters ``running`` once in its lifespan."""

    def __init__(self, body_limit: int) -> None:
        self._body_limit = body_limit
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the tools until it ends."""
        tools = make()
        tools.streamable_http_app(
            streamable_http_path=PATH,
            json_response=True,
            stateless_http=True,
            max_request_body_size=self._body_limit,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `Identity` does it
        )
        self._manager = tools.session_manager
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert self._manager is not None, "enter running() first"
        await self._manager.handle_request(scope, receive, send)
