"""`attune mcp`: the tools of a running server over standard input and output, for assistants that start programs."""

from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server


async def serve(url: str, headers: dict[str, str]) -> None:
    """Pass on what is asked on standard input to ``url``'s tools until it ends. Raises where nothing answers there."""
    async with (
        httpx2.AsyncClient(headers=[(k.encode(), v.encode()) for k, v in headers.items()], timeout=60) as http,
        Client(streamable_http_client(f"{url.rstrip('/')}/mcp", http_client=http)) as remote,
    ):

        async def on_list_tools(ctx: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
            return await remote.list_tools()

        async def on_call_tool(
            ctx: ServerRequestContext[Any], params: types.CallToolRequestParams
        ) -> types.CallToolResult:
            return await remote.call_tool(params.name, params.arguments)

        server = Server(
            "attune",
            title="Attune",
            instructions=remote.instructions,
            on_list_tools=on_list_tools,
            on_call_tool=on_call_tool,
        )
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
