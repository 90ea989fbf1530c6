"""The listening server: how connections are bounded, and how it stops without losing an answer.

Stopping takes ``ATTUNE_DRAIN_SECONDS`` at most. From the first moment `/ready` says 503 and answers ask clients to
open a new connection next time. After SIGTERM the server goes on accepting for ``ATTUNE_DRAIN_GRACE_SECONDS``, until
load balancers have seen it; then it listens no more and answers what is under way. What is still under way at the end
is cut: streams end in an error event, other answers in 503, and both are aborted in the engine.
"""

import asyncio
import logging
import math
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from server.errors import StartRefused
from server.http.connection import limited
from server.settings import Settings

log = logging.getLogger(__name__)

_LAST_WORDS = 5.0
"""Seconds in which cut answers say so and store what they have."""


class Listener(uvicorn.Server):
    """Serves ``app``. ``cut`` ends the generations under way, so that their answers end in an error."""

    def __init__(self, app: FastAPI, settings: Settings, cut: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=limited(settings.request_timeout, settings.connections_limit),
                log_level=settings.log_level,
                log_config=None,  # its lines are ours
                access_log=False,  # it would tell paths and query strings; see access.py
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds + _LAST_WORDS),
                timeout_keep_alive=75,
                ws="none",
            )
        )
        self._app = app
        self._settings = settings
        self._cut = cut
        self._grace = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM drains with grace; SIGINT, or a second signal, without."""
        first = sig == signal.SIGTERM and not self.should_exit
        self._grace = self._settings.drain_grace_seconds if first else 0.0
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop."""
        self._app.state.draining = True
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        started = time.monotonic()
        seconds = self._settings.drain_seconds
        # Polled, because a signal handler, which may end the grace, wakes no event of the loop.
        while time.monotonic() - started < min(self._grace, seconds):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        cutting = asyncio.create_task(self._cut_after(seconds - (time.monotonic() - started)))
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)
            if tasks := list(self.server_state.tasks):  # uvicorn cancelled them: they may still store what was said
                await asyncio.wait(tasks, timeout=_LAST_WORDS)

    async def _cut_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.server_state.tasks:
            log.warning("%d answers took longer than the drain and are cut", len(self.server_state.tasks))
        self._cut()


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets of ``host`` and ``port`` that do not listen yet. Raises ``StartRefused``: the port is taken, for one."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sockets.append(one := socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
            one.bind(address)
        return sockets
    except OSError as error:
        for one in sockets:
            one.close()
        raise StartRefused(
            f"ATTUNE_HOST={host}, ATTUNE_PORT={port} cannot be listened on: {error.strerror or error}."
        ) from error


def allow_many_files() -> None:
    """Raise the soft limit of open files, each connection is one, to what this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
