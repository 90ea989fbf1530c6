"""Stands in front of a real engine, and answers chosen generations with a given draft; all else passes through."""

import contextlib
import json
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from server.engine.client import IDLE_SECONDS

_BODY_LIMIT = 64 << 20
_OURS = {"host", "content-length", "transfer-encoding", "connection", "keep-alive"}
"""Headers that each of two connections has of its own."""
_CHAT = "/v1/chat/completions"


class StandIn:
    """A reverse proxy. ``url`` is its address while it is ``running``.

    A generation is chosen by its ``seed``: nobody but who asked ``draft`` for it knows the number. The engine gets
    that request, too, for a single token, so that it refuses what it would refuse, counts the prompt, and shapes the
    answer; the draft takes the place of the token.
    """

    def __init__(self, engine: str, socket: Path | None = None) -> None:
        self.url = ""
        self._engine = engine.rstrip("/").removesuffix("/v1")
        self._socket = socket
        self._seeds = count(1_000_000_007)  # no seed that anybody else would think of
        self._drafts: dict[int, tuple[str, str]] = {}

    def draft(self, text: str, finish_reason: str = "stop") -> int:
        """The seed of a generation that is to be answered with ``text``, once."""
        seed = next(self._seeds)
        self._drafts[seed] = text, finish_reason
        return seed

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer on a free port of this machine."""
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._answer)
        connector = (
            aiohttp.UnixConnector(path=str(self._socket), limit=0, keepalive_timeout=IDLE_SECONDS)
            if self._socket
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield
            finally:
                await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = _asked(request, body)
        drafted = self._drafts.get(asked.get("seed", 0))
        if drafted is not None:
            body = json.dumps({**asked, "max_tokens": 1, "stream": False}).encode()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OURS}
        try:
            async with self._session.request(
                request.method, self._engine + request.path_qs, data=body or None, headers=headers
            ) as answer:
                if drafted is not None and answer.status == 200:
                    del self._drafts[asked["seed"]]
                    return web.json_response(_drafted(await answer.json(), *drafted))
                return await _passed_on(request, answer)
        except (aiohttp.ClientConnectionError, TimeoutError):
            error = {"message": "The engine is away.", "type": "BadGateway", "param": None, "code": 502}
            return web.json_response({"error": error}, status=502)


def _asked(request: web.Request, body: bytes) -> dict[str, Any]:
    """The fields of a chat request; of any other, none."""
    if request.method != "POST" or request.path != _CHAT:
        return {}
    try:
        asked = json.loads(body)
    except ValueError:
        return {}
    return asked if isinstance(asked, dict) else {}


def _drafted(answer: dict[str, Any], text: str, finish_reason: str) -> dict[str, Any]:
    choice = {**answer["choices"][0], "finish_reason": finish_reason}
    choice["message"] = {**choice["message"], "content": text}
    return {**answer, "choices": [choice]}


async def _passed_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _OURS}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response
