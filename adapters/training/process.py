"""The trainer's process: a command in a group of its own, which ends with who waits for it."""

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import adapters
from adapters.environment import inherited
from adapters.errors import TrainingFailed
from adapters.training import progress

log = logging.getLogger(__name__)
_TAIL_BYTES, _TAIL_LINES = 4096, 20
_RAISED = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): ")
_TELLING = {"OutOfMemoryError", "MemoryError", "OSError", "FileNotFoundError", "PermissionError", "ImportError",
            "ModuleNotFoundError", "AttributeError"}  # fmt: skip
_GRACE_SECONDS = 5.0

RunTrainer = Callable[[Path, float], Awaitable[None]]


async def run_trainer(directory: Path, seconds: float) -> None:
    """Run ``python -m adapters.training.trainer`` on a directory; raises as ``run_command``."""
    await run_command([sys.executable, "-P", "-m", "adapters.training.trainer", str(directory)], directory, seconds)


async def run_command(command: Sequence[str], directory: Path, seconds: float) -> None:
    """Run a command in its own process group, which ends with this call, also when it is cancelled.

    What it prints stands in ``directory``. Raises ``TrainingFailed`` when it fails, whose last lines of stderr are
    logged, or takes longer than ``seconds``.
    """
    # The package's own folder first: another package of that name must not be found instead.
    path = [str(Path(adapters.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **inherited(),
        "PYTHONPATH": os.pathsep.join(path),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(directory / "cache"),
    }
    errors = directory / "trainer.log"
    with errors.open("wb") as log_file, (directory / progress.FILE).open("wb") as printed:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=printed,
            stderr=log_file,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
    except TimeoutError as error:
        raise TrainingFailed(f"the trainer took longer than {seconds:.0f} s") from error
    finally:
        await asyncio.shield(_end_group(process))
    if code:
        said = errors.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        log.error("the trainer failed with status %d: %s", code, " | ".join(_told(said)[-_TAIL_LINES:]))
        raise TrainingFailed(f"the trainer failed with status {code}; the server's log says why")


def _told(said: str) -> list[str]:
    """The lines of a traceback that speak of code and of the machine; any other may quote a user's text."""
    lines = []
    for line in said.splitlines():
        raised = _RAISED.match(line)
        if line.startswith('  File "'):
            lines.append(line.strip())
        elif raised:
            lines.append(line if raised[1].rpartition(".")[2] in _TELLING else raised[1])
    return lines


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End a process and its children: politely, then not."""
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            continue
