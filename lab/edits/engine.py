"""The engine that cases are played on: a running one, or vLLM as the server starts it; and the server in front."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lab.child import ServerFailed
from lab.edits.stand_in import StandIn
from lab.local_server import local_server
from server.engine.client import Engine
from server.engine.supervisor import EngineSupervisor, command, environment
from server.settings import Settings

_OWN = "http://engine"
_HANDED_ON = ("ATTUNE_EMBEDDER", "ATTUNE_LEARN", "ATTUNE_RECALL_", "ATTUNE_PREFERENCE_", "ATTUNE_SYSTEM_ROLE")
"""The operator's settings of learning and recall: they are what is looked at."""


@dataclass(frozen=True)
class Running:
    """An engine that answers: where, and through what it is asked."""

    url: str
    socket: Path | None
    engine: Engine


@contextlib.asynccontextmanager
async def running_engine(settings: Settings, url: str | None, log_file: Path) -> AsyncIterator[Running]:
    """The engine at ``url``, or without one vLLM as ``settings`` describe it, until it is left.

    Raises ``ServerFailed``, or ``StartRefused`` for a setting.
    """
    if url is None:
        async with _own_engine(settings.model_copy(update={"engine_url": None}), log_file) as running:
            yield running
        return
    async with _engine(url, settings, None) as engine:
        if not await engine.ready():
            raise ServerFailed(f"No engine answers at {url}.")
        yield Running(url, None, engine)


@contextlib.asynccontextmanager
async def learning_server(
    running: Running, folder: Path, model: str | None, console: Console
) -> AsyncIterator[tuple[str, StandIn]]:
    """Its URL, and what stands in for its engine, of a server that learns as is configured. Raises ``ServerFailed``."""
    stand_in = StandIn(running.url, running.socket)
    settings = {name: value for name, value in os.environ.items() if name.startswith(_HANDED_ON)}
    settings |= {} if model is None else {"ATTUNE_MODEL": model}
    async with stand_in.running():
        settings["ATTUNE_ENGINE_URL"] = stand_in.url
        async with local_server(folder, console, settings) as base:
            yield base, stand_in


@contextlib.asynccontextmanager
async def _own_engine(settings: Settings, log_file: Path) -> AsyncIterator[Running]:
    settings.check()
    folder = EngineSupervisor.private_folder()
    socket = folder / "vllm.sock"
    async with _engine(_OWN, settings, socket) as engine:
        process = EngineSupervisor(
            command(settings, socket),
            environment=environment(settings, folder),
            folder=folder,
            log_file=log_file,
            probe=engine.ready,
            on_restart=lambda: None,
            start_timeout=settings.engine_start_timeout,
        )
        supervised = asyncio.create_task(process.supervise())
        try:
            while process.state == "loading":  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.2)
            if process.state != "ready":
                raise ServerFailed(process.reason or "vLLM could not start.")
            yield Running(_OWN, socket, engine)
        finally:
            supervised.cancel()
            await asyncio.gather(supervised, return_exceptions=True)


@contextlib.asynccontextmanager
async def _engine(url: str, settings: Settings, socket: Path | None) -> AsyncIterator[Engine]:
    key = settings.engine_api_key.get_secret_value() if settings.engine_api_key else None
    name = settings.model_name if socket else settings.served_model_name
    engine = Engine(url, socket=socket, base_model=name, api_key=key, read_timeout=settings.engine_read_timeout)
    try:
        yield engine
    finally:
        await engine.close()
