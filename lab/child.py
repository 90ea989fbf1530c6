"""A server as a child process on this machine: started, waited for, and gone with all of its children at the end."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx

from lab.refusal import Refused

STOP_SECONDS = 30


class ServerFailed(Refused):
    """A server ended, did not answer in time, or refused what is needed; the message says what it said."""


@contextlib.asynccontextmanager
async def running(
    name: str,
    command: Sequence[str],
    port: int,
    path: str,
    log: Path,
    environment: Mapping[str, str],
    *,
    cwd: Path | None = None,
    seconds: float | None = None,
) -> AsyncIterator[int]:
    """The process of a program until the block ends, once it answers at ``path`` of ``port``, for which it has time.

    Raises ``ServerFailed`` with the last lines of its log.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("w") as file:
        # In a session of its own: Ctrl-C is for us, who stop it when we are done with it.
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        if not await _answers(f"http://127.0.0.1:{port}{path}", process, seconds):
            raise ServerFailed(f"{name} did not start:\n{_tail(log)}")
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else is in it
        await process.wait()


async def _answers(url: str, process: asyncio.subprocess.Process, seconds: float | None) -> bool:
    with contextlib.suppress(TimeoutError):
        async with httpx.AsyncClient(timeout=5) as client, asyncio.timeout(seconds):
            while process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).status_code == 200:
                        return True
                await asyncio.sleep(0.2)
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
