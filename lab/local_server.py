"""A server of our own on this machine: a child process with a data folder, vLLM behind it, stopped when done."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lab.child import free_port, running
from server.settings import BUNDLED_NAME

_ENGINE_SETTINGS = ("ATTUNE_MODEL", "ATTUNE_SERVED_MODEL_NAME", "ATTUNE_ENGINE_", "ATTUNE_GPU_", "ATTUNE_MAX_MODEL_LEN")
"""What the server takes over from the environment; everything else of an operator's stays untouched."""


@contextlib.asynccontextmanager
async def local_server(
    folder: Path, console: Console, settings: Mapping[str, str] | None = None, program: Sequence[str] = ("server",)
) -> AsyncIterator[str]:
    """The base URL of a server with ``folder`` for its data and its log, which trains when it is told to.

    It serves the bundled model where no other one is named. ``settings`` are further environment variables, ``program``
    another module that serves. Raises ``ServerFailed``.
    """
    port = free_port()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") or k.startswith(_ENGINE_SETTINGS)}
    environment = {
        "ATTUNE_MODEL": BUNDLED_NAME, **kept, "ATTUNE_DATA_DIR": str(folder),
        "ATTUNE_ADAPTER_MIN_EDITS": "1000000", "ATTUNE_HOST": "127.0.0.1",
        **(settings or {}),
    }  # fmt: skip
    command = [sys.executable, "-m", *program, "serve", "--port", str(port)]
    async with contextlib.AsyncExitStack() as stack:
        with console.status("starting the server and vLLM (about a minute)"):
            server = running("the server", command, port, "/ready", folder / "server.log", environment)
            await stack.enter_async_context(server)
        yield f"http://127.0.0.1:{port}"
