"""The engine behind the stand-in: a running one, or vLLM with the model that is named, as the server starts it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lab.local_server import NotStarted
from server.engine import Engine
from server.engine_process import EngineProcess, command, environment
from server.settings import Settings

_OWN = "http://engine"


@dataclass(frozen=True)
class Running:
    """An engine that answers: where, and through what it is asked."""

    url: str
    socket: Path | None
    engine: Engine


@contextlib.asynccontextmanager
async def own_engine(settings: Settings, log_file: Path) -> AsyncIterator[Running]:
    """vLLM as ``settings`` describe it, until it is left. Raises ``NotStarted``, or ``StartRefused`` for a setting."""
    settings.check()
    folder = EngineProcess.private_folder()
    socket = folder / "vllm.sock"
    async with _engine(_OWN, settings, socket) as engine:
        process = EngineProcess(
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
                raise NotStarted(process.reason or "vLLM could not start.")
            yield Running(_OWN, socket, engine)
        finally:
            supervised.cancel()
            await asyncio.gather(supervised, return_exceptions=True)


@contextlib.asynccontextmanager
async def running_engine(url: str, settings: Settings) -> AsyncIterator[Running]:
    """The engine at ``url``. Raises ``NotStarted`` where none answers."""
    async with _engine(url, settings, None) as engine:
        if not await engine.ready():
            raise NotStarted(f"No engine answers at {url}.")
        yield Running(url, None, engine)


@contextlib.asynccontextmanager
async def _engine(url: str, settings: Settings, socket: Path | None) -> AsyncIterator[Engine]:
    key = settings.engine_api_key.get_secret_value() if settings.engine_api_key else None
    name = settings.model_name if socket else settings.served_model_name
    engine = Engine(url, socket=socket, base_model=name, api_key=key, read_timeout=settings.engine_read_timeout)
    try:
        yield engine
    finally:
        await engine.close()
