"""The server under test: the real one, forked from a process that has imported everything, so a start takes moments.

Real routes, workers, database, publication. Given to it are a fast embedder, a trainer that takes a moment, and leases
that run out soon: it is killed more often than any server should be.
"""

import asyncio
import contextlib
import hashlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import safetensors  # noqa: F401 - what the server imports when it is first needed must be there before it is forked
import torch

from adapters.training.process import run_command
from bench.crash import trainer
from preference.ports import Vectors
from server.app import serve
from server.composition import build
from server.settings import Settings

LEASE_SECONDS = 0.5
MAX_ATTEMPTS = 50
START_SECONDS = 60


class WordEmbedder:
    """Bags of hashed words: texts that share words are alike."""

    name = "words"
    dimension = 64
    kinds = 64

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().split() or [""]:
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / lengths

    def goes_on(self, vector: Vectors) -> bool:
        """Never."""
        return False


async def run_trainer(directory: Path, seconds: float) -> None:
    """``bench.crash.trainer`` as a subprocess."""
    await run_command([sys.executable, "-I", "-S", str(Path(trainer.__file__)), str(directory)], directory, seconds)


class Server:
    """One server after the other on one port. ``settings`` are fields of ``Settings``."""

    def __init__(self, settings: Mapping[str, Any], log: Path) -> None:
        self.url = f"http://127.0.0.1:{settings['port']}"
        self._settings = dict(settings)
        self._log = log
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._process: multiprocessing.process.BaseProcess | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Fork a new one; it answers some moments later."""
        self._process = self._context.Process(target=_run, args=(self._settings, str(self._log)), daemon=True)
        self._process.start()

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until it answers. Raises ``RuntimeError`` when it ends before, ``TimeoutError`` when it never does."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{self.url}/ready") as response:
                        if response.status == 200:
                            return
                if not self.alive:
                    raise RuntimeError(f"the server ended before it was ready; see {self._log}")
                await asyncio.sleep(0.005)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal, and wait until it is gone; its exit code. Raises ``RuntimeError`` when it stays."""
        if self._process is None or self._process.pid is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        await asyncio.to_thread(self._process.join, START_SECONDS)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise RuntimeError(f"the server did not end at signal {number}; see {self._log}")
        return code


def _run(settings: Mapping[str, Any], log: str) -> None:
    """In the forked process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    for name in [name for name in os.environ if name.startswith("ATTUNE_")]:
        del os.environ[name]
    torch.set_num_threads(1)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(asctime)s %(levelname)s %(name)s: %(message)s")
    building = partial(
        build,
        embedder=WordEmbedder(),
        run_trainer=run_trainer,
        lease_seconds=LEASE_SECONDS,
        max_attempts=MAX_ATTEMPTS,
    )
    reason = serve(Settings(**settings), build=building)
    if reason:
        sys.exit(reason)
