"""Trainings on a real Ray of two nodes with one core each: `make test-ray`. Not a part of `make test`.

The programs, the database and its leases are real; a node is killed, a task preempted, the network lost.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import pytest

from adapters.artifacts.manifest import digests
from adapters.artifacts.validation import WEIGHTS
from adapters.errors import TrainingFailed
from adapters.lifecycle import versions
from adapters.training import on_ray, progress
from adapters.training.on_ray import Cluster, NodeLost, OnRay
from adapters.training.process import run_trainer
from store import jobs
from store.database import Database
from store.errors import Invalid
from store.worker import Worker
from tests.adapters.fakes import Trained, until
from tests.adapters.training.conftest import ANN, World

pytestmark = pytest.mark.timeout(400)
os.environ["RAY_AUTH_MODE"] = "disabled"  # a cluster for a minute, on loopback
LEFT = Path(tempfile.gettempdir()) / "attune-trainings"


@dataclass
class Nodes:
    """A cluster on this machine: a head that trains nothing, and nodes of one core that can be killed."""

    port: int
    client: int
    log: IO[bytes]
    nodes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "RAY_raylet_start_wait_time_s": "120",
        }
        self.nodes[name] = subprocess.Popen(
            command, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def add(self, name: str) -> None:
        self.start(
            name, f"--address=127.0.0.1:{self.port}", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000"
        )

    def wait_for(self, count: int) -> None:
        """Until so many nodes have joined the head."""
        import ray

        def joined() -> bool:
            with suppress(ConnectionError, RuntimeError):  # Ray gives up after half a minute; this machine may be busy
                ray.init(f"ray://127.0.0.1:{self.client}", logging_level="ERROR")
            return bool(ray.is_initialized())

        wait(joined)
        try:
            wait(lambda: sum(node["Alive"] for node in ray.nodes()) == count + 1)
        finally:
            ray.shutdown()

    def processes(self, name: str) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.nodes[name].pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def training(self) -> dict[str, list[psutil.Process]]:
        """Which nodes have a program that trains, and the actor that runs it."""
        found: dict[str, list[psutil.Process]] = {}
        for name in self.nodes:
            with suppress(psutil.NoSuchProcess):
                for process in self.processes(name):
                    if "adapters.training.trainer" in process.cmdline():
                        found.setdefault(name, []).append(psutil.Process(process.ppid()))
        return found

    def kill(self, name: str) -> None:
        for process in self.processes(name):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.nodes.pop(name).wait()


def free_port() -> int:
    """Below those that a system gives away, which Ray's own processes take while it starts."""
    while True:
        port = random.randrange(21_000, 29_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the cluster did not start"
        time.sleep(0.5)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    made = Nodes(free_port(), free_port(), (tmp_path_factory.mktemp("ray") / "log").open("wb"))
    made.start(
        "head", "--head", f"--port={made.port}", f"--ray-client-server-port={made.client}", "--num-cpus=0",
        "--num-gpus=0", "--include-dashboard=false", "--object-store-memory=100000000",
    )  # fmt: skip
    try:
        wait(lambda: listens(made.client))
        for count, name in enumerate(("one", "two"), 1):  # two that start at once on one machine want the same ports
            made.add(name)
            made.wait_for(count)
        yield made
    finally:
        for name in list(made.nodes):
            made.kill(name)
        made.log.close()


@dataclass
class Line:
    """A line to the cluster that can be cut."""

    port: int = 0
    up: bool = True
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        self.up = False
        for writer in self.open:
            writer.transport.abort()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    line = Line()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not line.up:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        line.open |= {writer, back}
        with suppress(asyncio.CancelledError):
            await asyncio.gather(pump(reader, back), pump(there, writer))
        line.open -= {writer, back}

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line.cut()
        server.close()


@pytest.fixture
async def line(nodes: Nodes) -> AsyncIterator[Line]:
    async with line_to(nodes.client) as line:
        yield line


@pytest.fixture
async def ray(line: Line) -> AsyncIterator[OnRay]:
    made = OnRay(Cluster.of(f"ray://127.0.0.1:{line.port}"))
    yield made
    await made.close()


@pytest.fixture
async def world(database: Database, tmp_path: Path, trained: Trained) -> World:
    return World(database, tmp_path / "adapters", trained)


@asynccontextmanager
async def working(world: World, ray: OnRay) -> AsyncIterator[Worker]:
    training = world.training(ray.alone)
    worker = Worker(
        world.database, {"train": training}, on_failed=training.on_failed, lease_seconds=20, backoff_seconds=0.2
    )
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ready(world: World) -> None:
    async with asyncio.timeout(180):
        while (version := await world.version()).state != "ready":
            assert version.state in ("queued", "training"), version.report
            await asyncio.sleep(0.2)


async def once(world: World) -> None:
    """There is one version, published once, and its one job is done."""
    await until(lambda: bool(world.published), 0.1)
    held = await world.database.read(versions.all_of, ANN)
    assert [(one.version, one.state) for one in held] == [(1, "ready")]
    assert len(world.published) == 1
    assert await world.database.read(jobs.is_due, jobs.due(["train"])) is False
    assert world.clean()


async def trains(nodes: Nodes) -> str:
    await until(lambda: bool(nodes.training()), 0.1)
    return next(iter(nodes.training()))


async def test_a_training_is_what_it_is_here(world: World, ray: OnRay, tmp_path: Path) -> None:
    await world.add_edits()
    await world.database.write(versions.queue, ANN)
    kept: list[Path] = []

    async def and_here(directory: Path, seconds: float) -> None:
        here = tmp_path / "here"
        shutil.copytree(directory, here)
        await run_trainer(here, seconds)
        kept.append(here / "adapter")
        await ray.alone(directory, seconds)
        assert progress.read(directory)

    training = world.training(and_here)
    await training(await world.lease())
    assert (await world.version()).state == "ready"
    made = world.root / (await world.user()).opaque_id / "v1"
    assert digests(made)[WEIGHTS] == digests(kept[0])[WEIGHTS]
    assert not list(LEFT.iterdir())


@pytest.mark.parametrize("how", ["the node is killed", "the task is preempted", "the network is lost"])
async def test_no_job_is_lost_and_no_version_is_published_twice(
    world: World, ray: OnRay, nodes: Nodes, line: Line, how: str
) -> None:
    await world.add_edits()
    await world.database.write(versions.queue, ANN)
    async with working(world, ray):
        name = await trains(nodes)
        if how == "the node is killed":
            nodes.kill(name)
        elif how == "the task is preempted":
            for actor in nodes.training()[name]:
                os.kill(actor.pid, signal.SIGKILL)
        else:
            line.cut()
            await asyncio.sleep(3)
            assert (await world.version()).state == "training"
            line.up = True
        try:
            await ready(world)
        finally:
            if how == "the node is killed":
                nodes.add(name)
    await once(world)


async def test_who_is_cancelled_leaves_nothing_on_the_node(world: World, ray: OnRay, nodes: Nodes) -> None:
    await world.add_edits()
    await world.database.write(versions.queue, ANN)
    training = world.training(ray.alone)
    running = asyncio.create_task(training(await world.lease()))
    await trains(nodes)
    await training.stop((await world.user()).opaque_id)
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: not nodes.training(), 0.1)
    assert not list(LEFT.iterdir())


async def test_without_room_the_job_waits(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(on_ray, "ROOM_SECONDS", 2.0)
    ray = OnRay(Cluster.of(f"ray://127.0.0.1:{line.port}?gpus=1"))
    (tmp_path / "job").mkdir()
    with pytest.raises(NodeLost):
        await ray.alone(tmp_path / "job", 60)
    await ray.close()


async def test_a_program_that_fails_is_a_training_that_failed(line: Line, tmp_path: Path) -> None:
    ray = OnRay(Cluster.of(f"ray://127.0.0.1:{line.port}"))
    (tmp_path / "job").mkdir()
    with pytest.raises(TrainingFailed, match=r"status 1.*on a node of Ray"):
        await ray.alone(tmp_path / "job", 60)
    await ray.close()


@pytest.mark.parametrize(
    "url", ["ray://", "ray://head", "http://head:1", "ray://head:1?gpu=1", "ray://head:1?gpus=x", "ray://head:1/x"]
)
def test_what_is_no_cluster_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="A cluster of Ray is named like"):
        Cluster.of(url)
