"""A server of our own on this machine: a child process with a data folder, vLLM behind it, stopped when done."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from server.settings import BUNDLED_NAME

_ENGINE_SETTINGS = ("ATTUNE_MODEL", "ATTUNE_SERVED_MODEL_NAME", "ATTUNE_ENGINE_", "ATTUNE_GPU_", "ATTUNE_MAX_MODEL_LEN")
"""What the server takes over from the environment; everything else of an operator's stays untouched."""
_STOP_SECONDS = 30


class NotStarted(Exception):
    """The server ended before it was ready; the message has its last lines."""


@contextlib.asynccontextmanager
async def local_server(
    folder: Path, console: Console, settings: Mapping[str, str] | None = None, program: Sequence[str] = ("server",)
) -> AsyncIterator[str]:
    """The base URL of a server with ``folder`` for its data and its log, which trains when it is told to.

    It serves the bundled model where no other one is named. ``settings`` are further environment variables, ``program``
    another module that serves. Raises ``NotStarted``.
    """
    port = _free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") or k.startswith(_ENGINE_SETTINGS)}
    environment = {
        "ATTUNE_MODEL": BUNDLED_NAME, **kept, "ATTUNE_DATA_DIR": str(folder),
        "ATTUNE_ADAPTER_MIN_EDITS": "1000000", "ATTUNE_HOST": "127.0.0.1",
        **(settings or {}),
    }  # fmt: skip
    log = folder / "server.log"
    process = _start(program, port, environment, log)
    try:
        base = f"http://127.0.0.1:{port}"
        await _until_ready(base, process, log, console)
        yield base
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def progress(console: Console) -> Progress:
    """A bar for each task, with its count, its time, and the time that is left by the pace so far."""
    columns = (TextColumn("{task.description:<50}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(program: Sequence[str], port: int, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", *program, "serve", "--port", str(port)]
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("w") as file:
        # Of its own group: Ctrl-C is for us, who stop it when we are done with it.
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT, process_group=0)


async def _until_ready(base: str, process: "subprocess.Popen[bytes]", log: Path, console: Console) -> None:
    with progress(console) as bars:
        bars.add_task("starting the server and vLLM (about a minute)", total=None)
        async with httpx.AsyncClient(base_url=base, timeout=5) as client:
            while process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.5)
    tail = "\n".join(_lines(log)[-5:])
    raise NotStarted(f"The server did not start:\n{tail}")


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()
