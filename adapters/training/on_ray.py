"""Trainings on a Ray cluster: the same programs, each in an actor on a node that has room for it.

The worker keeps the jobs: leases, gates and publications are its own, on its database. A node gets the files of a
training and gives back what the program made; one that is lost, preempted or cut off is no failure of the version, and
its job is tried again later. Nodes need Attune, the Ray of the worker's version, and the base model under one path.
"""

import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from adapters.errors import TrainingFailed
from adapters.training import progress
from adapters.training.own_folder import own_folder
from adapters.training.process import run_command
from adapters.training.trainer import FIGURES
from store.errors import EngineUnavailable, Invalid

log = logging.getLogger(__name__)
T = TypeVar("T")
Files = dict[str, bytes]
LOOK_SECONDS = 1.0
ROOM_SECONDS = 60.0
"""How long a training waits for a node; then its job waits instead, and others' may go."""
ANSWER_SECONDS = 60.0
"""How long a node may be silent until it is taken for lost."""
NAMESPACE = "attune"


class NodeLost(EngineUnavailable):
    """The cluster, or the node that was training, does not answer: the job is tried again later."""


@dataclass(frozen=True)
class Cluster:
    """Where, and what a program asks of a node."""

    address: str
    gpus: float
    cpus: float

    @classmethod
    def of(cls, url: str) -> "Cluster":
        """By ``ray://host:port?gpus=1&cpus=2``. Raises ``Invalid``."""
        try:
            parts = urlsplit(url)
            asked = {
                name: float(values[-1])
                for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
            }
            found = cls(f"ray://{parts.netloc}", asked.pop("gpus", 0.0), asked.pop("cpus", 1.0))
            well = parts.scheme == "ray" and bool(parts.hostname and parts.port) and parts.path in ("", "/")
        except ValueError:
            well = False
        if not well or asked or not (0 <= found.gpus <= 64 and 0 < found.cpus <= 1024):
            raise Invalid(f"A cluster of Ray is named like ray://host:10001?gpus=1&cpus=2, got {url!r}.")
        return found


class Program:
    """Runs on a node: one program, on directories that are sent to it. An actor of Ray's; its methods take turns."""

    def __init__(self, module: str, trainings: Sequence[Files], seconds: float) -> None:
        self._opened = ExitStack()
        self._root = self._opened.enter_context(own_folder(Path(tempfile.gettempdir()) / "attune-trainings"))
        self._directories = []
        for number, files in enumerate(trainings):
            (directory := self._root / str(number)).mkdir()
            unpack(files, directory)
            self._directories.append(directory)
        self._module = module
        self._seconds = seconds
        self._running: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start the program; returns at once."""
        apart = self._root if len(self._directories) > 1 else self._directories[0]
        command = [sys.executable, "-P", "-m", self._module, *map(str, self._directories)]
        self._running = asyncio.create_task(run_command(command, apart, self._seconds))

    async def look(
        self, gone: Sequence[int], had: Sequence[int]
    ) -> tuple[dict[int, bytes], dict[int, Files], str | None]:
        """What has been printed for each training, what those made that are done, and how the program ended.

        Trainings that are ``gone`` are trained no further, and those that were ``had`` are not sent again. The end is
        None while it runs, empty when all went well.
        """
        for number in gone:
            shutil.rmtree(self._directories[number], ignore_errors=True)  # its program notices
        running = self._running
        ended = None
        if running is not None and running.done():
            error = running.exception() if not running.cancelled() else TrainingFailed("it was stopped")
            ended = "" if error is None else str(error)
        printed, made = {}, {}
        for number, directory in enumerate(self._directories):
            with suppress(FileNotFoundError):
                printed[number] = (directory / progress.FILE).read_bytes()
            if number not in had and (directory / FIGURES).exists():
                made[number] = pack(directory / "adapter") | pack(directory, FIGURES)
        return printed, made, ended

    async def stop(self) -> None:
        """End the program, and leave nothing of the trainings on this node."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._opened.close()


class OnRay:
    """``RunTrainer`` and ``RunBatched`` on a cluster. Raises ``Invalid`` where Ray is not installed."""

    def __init__(self, cluster: Cluster) -> None:
        try:
            self._ray: Any = import_module("ray")
        except ImportError as error:
            raise Invalid("Training on Ray needs Ray: pip install 'attune[ray]'.") from error
        self._cluster = cluster
        self._one = asyncio.Lock()

    async def alone(self, directory: Path, seconds: float) -> None:
        """As ``run_trainer``; raises ``NodeLost``, too."""
        await self._run("adapters.training.trainer", [directory], seconds)

    async def many(self, directories: Sequence[Path], seconds: float) -> None:
        """As ``run_batched``; raises ``NodeLost``, too."""
        await self._run("adapters.training.batch.trainer", directories, seconds)

    async def close(self) -> None:
        """Leave the cluster."""
        await asyncio.to_thread(self._ray.shutdown)

    async def _run(self, module: str, directories: Sequence[Path], seconds: float) -> None:
        trainings = await asyncio.to_thread(lambda: [pack(directory) for directory in directories])
        program = await self._start(module, trainings, seconds)
        try:
            await self._follow(program, directories)
        finally:
            await asyncio.shield(self._end(program))

    async def _start(self, module: str, trainings: Sequence[Files], seconds: float) -> Any:
        await self._join()
        actor = self._ray.remote(Program).options(
            num_cpus=self._cluster.cpus, num_gpus=self._cluster.gpus, max_restarts=0, namespace=NAMESPACE
        )
        program = await self._asked(lambda: actor.remote(module, trainings, seconds))
        try:
            await self._answer(program.begin.remote, patience=ROOM_SECONDS)
        except BaseException:
            await asyncio.shield(self._end(program))
            raise
        return program

    async def _follow(self, program: Any, directories: Sequence[Path]) -> None:
        """Bring back what is printed and made, until the program ends. Raises ``TrainingFailed``, ``NodeLost``."""
        had: set[int] = set()
        while True:
            gone = [number for number, directory in enumerate(directories) if not directory.exists()]
            printed, made, ended = await self._answer(partial(program.look.remote, gone, sorted(had)))
            for number, said in printed.items():
                with suppress(FileNotFoundError):
                    await asyncio.to_thread((directories[number] / progress.FILE).write_bytes, said)
            for number, files in made.items():
                had.add(number)
                if directories[number].exists():
                    await asyncio.to_thread(self._take, files, directories[number])
            if ended is not None:
                if ended:
                    raise TrainingFailed(f"{ended} (on a node of Ray, whose own log has more)")
                return
            await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    def _take(files: Files, directory: Path) -> None:
        """The figures last: who waits for them takes the adapter then."""
        figures = files.pop(FIGURES)
        unpack(files, directory / "adapter")
        (directory / FIGURES).write_bytes(figures)

    async def _end(self, program: Any) -> None:
        """Politely, so that nothing is left on its node; then not."""
        with suppress(NodeLost, TrainingFailed):
            await self._answer(program.stop.remote, patience=15.0)
        with suppress(Exception):
            await asyncio.to_thread(self._ray.kill, program)

    async def _join(self) -> None:
        async with self._one:
            if not await asyncio.to_thread(self._ray.is_initialized):
                how: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
                await self._asked(partial(self._ray.init, self._cluster.address, **how))

    async def _answer(self, ask: Callable[[], Any], patience: float = ANSWER_SECONDS) -> Any:
        """What an actor's method gives."""
        return await self._asked(lambda: self._ray.get(ask(), timeout=patience))

    async def _asked(self, ask: Callable[[], T]) -> T:
        """What the cluster says; whatever goes wrong between us and it is ``NodeLost``."""
        try:
            return await asyncio.to_thread(ask)
        except self._ray.exceptions.RayTaskError as error:
            raise TrainingFailed(f"a node of Ray could not train: {type(error.cause).__name__}") from error
        except Exception as error:  # Ray's client raises bare ones, too
            log.warning("Ray at %s: %s: %s", self._cluster.address, type(error).__name__, error)
            if not isinstance(error, self._ray.exceptions.RayError):
                await asyncio.to_thread(self._leave)
            raise NodeLost(f"Ray lost a node, or does not answer: {type(error).__name__}.") from error

    def _leave(self) -> None:
        """A connection that broke is made anew by the next training."""
        with suppress(Exception):
            self._ray.shutdown()


def pack(directory: Path, *names: str) -> Files:
    """The files of a directory, or those of these names, with their folders."""
    files = [directory / name for name in names] or [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def unpack(files: Files, directory: Path) -> None:
    """Write files into a directory. Raises ``Invalid`` for a name that leads out of it."""
    for name, content in files.items():
        path = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise Invalid(f"A training has a file {name!r}.")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(content)
