"""The child is started, watched, restarted and never left behind. The child here is a small HTTP server."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from server.engine import supervisor
from server.engine.client import Engine
from server.engine.supervisor import EngineSupervisor, likely_cause
from server.errors import StartRefused
from server.settings import Settings

CHILD = """
import os, socketserver, subprocess, sys
from http.server import BaseHTTPRequestHandler
path, pids = sys.argv[1:]
grandchild = subprocess.Popen(["sleep", "600"])
open(pids, "a").write(f"{os.getpid()} {grandchild.pid}\\n")
print("x" * 3_000_000)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def address_string(self): return ""
    def log_message(self, *args): pass
socketserver.UnixStreamServer(path, Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def pids(tmp_path: Path) -> list[int]:
    file = tmp_path / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def folder_of(process: EngineSupervisor) -> Path:
    return process._folder


@asynccontextmanager
async def supervised(
    tmp_path: Path, command: list[str] | None = None, start_timeout: float = 30
) -> AsyncIterator[tuple[EngineSupervisor, list[str], asyncio.Task[None]]]:
    folder = EngineSupervisor.private_folder()
    socket = folder / "engine.sock"
    engine = Engine("http://engine", socket=socket, base_model="m")
    restarts: list[str] = []
    process = EngineSupervisor(
        command or [sys.executable, "-c", CHILD, str(socket), str(tmp_path / "pids")],
        environment=dict(os.environ),
        folder=folder,
        log_file=tmp_path / "logs" / "vllm.log",
        probe=engine.ready,
        on_restart=lambda: restarts.append("restart"),
        start_timeout=start_timeout,
        back_off=0.05,
    )
    task = asyncio.create_task(process.supervise())
    try:
        yield process, restarts, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await engine.close()
        assert not folder.exists()


async def test_it_comes_up_and_stops_with_everything_it_started(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, restarts, _):
        assert process.state == "loading"
        await until(lambda: process.state == "ready")
        started = pids(tmp_path)
        assert len(started) == 2
        assert all(alive(pid) for pid in started)
    assert process.state == "stopped"
    assert not restarts
    await until(lambda: not any(alive(pid) for pid in started))


def _many(found: Sequence[object], count: int) -> bool:
    return len(found) == count


async def test_it_is_restarted_when_it_is_killed(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, restarts, _):
        for times in (1, 2, 3):
            await until(lambda: process.state == "ready")
            os.kill(pids(tmp_path)[-2], signal.SIGKILL)
            await until(partial(_many, restarts, times))
        await until(lambda: process.state == "ready")
        started = pids(tmp_path)
        assert len(started) == 8
        await until(lambda: not any(alive(pid) for pid in started[:-2]))
        assert process.reason is None


async def test_it_is_restarted_after_its_private_folder_was_removed(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, restarts, _):
        await until(lambda: process.state == "ready")
        shutil.rmtree(folder_of(process))
        os.kill(pids(tmp_path)[-2], signal.SIGKILL)
        await until(lambda: len(restarts) == 1 and process.state == "ready")
        assert len(pids(tmp_path)) == 4
        assert folder_of(process).stat().st_mode & 0o777 == 0o700


async def test_it_tries_again_while_the_system_refuses_to_start_it(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, restarts, task):
        await until(lambda: process.state == "ready")
        folder = folder_of(process)
        shutil.rmtree(folder)
        folder.touch()
        os.kill(pids(tmp_path)[-2], signal.SIGKILL)
        await until(lambda: len(restarts) >= 3)
        assert process.state == "restarting"
        assert process.reason is not None
        assert "could not be run" in process.reason
        assert not task.done()
        folder.unlink()
        await until(lambda: process.state == "ready")
        assert len(pids(tmp_path)) == 4


async def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, _, task):
        folder_of(process).chmod(0o755)
        await asyncio.wait_for(task, 60)
        assert process.state == "failed"
        assert process.reason is not None
        assert "this user alone" in process.reason
        assert not pids(tmp_path)


async def test_an_error_of_our_own_ends_in_failure_with_a_reason(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with supervised(tmp_path, ["a\0b"]) as (process, _, task):
        await asyncio.wait_for(task, 60)
        assert process.state == "failed"
        assert process.reason is not None
        assert "null byte" in process.reason
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise ValueError('the model has no head')", "the model has no head"),
        ("print('usage: x\\nx: error: unrecognized arguments: --foo')", "unrecognized arguments: --foo"),
        ("pass", "it printed nothing"),
    ],
)
async def test_one_that_cannot_start_says_why(tmp_path: Path, code: str, expected: str) -> None:
    async with supervised(tmp_path, [sys.executable, "-c", code]) as (process, restarts, task):
        await asyncio.wait_for(task, 60)
        assert process.state == "failed"
        assert not restarts
        assert process.reason is not None
        assert expected in process.reason
        assert "vllm.log" in process.reason


async def test_one_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    async with supervised(tmp_path, command, start_timeout=0.5) as (process, _, task):
        await asyncio.wait_for(task, 60)
        assert process.reason is not None
        assert "ATTUNE_ENGINE_START_TIMEOUT" in process.reason


def test_nothing_is_left_when_we_are_killed(tmp_path: Path) -> None:
    program = f"""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from tests.server.engine.test_supervisor import supervised
        async def main():
            async with supervised(Path({str(tmp_path)!r})) as (process, _, task):
                await task
        asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    deadline = time.monotonic() + 60
    while len(pids(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = pids(tmp_path)
    assert all(alive(pid) for pid in started)
    parent.kill()
    parent.wait()
    while any(alive(pid) for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_log_is_bounded_and_private_things_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    settings = Settings(
        model=str(tmp_path), adapter_rank=9, engine_args="--seed 1 --chat-template 'a b'", max_model_len=64
    )
    command = supervisor.command(settings, Path("/tmp/x.sock"))
    pairs = dict(pairwise(command))
    assert pairs["--max-lora-rank"] == "16"
    assert pairs["--served-model-name"] == tmp_path.name
    assert pairs["--model"] == str(tmp_path)
    assert pairs["--max-model-len"] == "64"
    assert command[-4:] == ["--seed", "1", "--chat-template", "a b"]
    assert "--trust-remote-code" not in command
    environment = supervisor.environment(settings, tmp_path)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "HF_HUB_OFFLINE" not in supervisor.environment(Settings(model="org/name"), tmp_path)
    assert not [name for name in environment if name.startswith("ATTUNE_")]


def test_arguments_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(StartRefused, match="ATTUNE_ENGINE_ARGS"):
        supervisor.command(Settings(engine_args="'"), Path("/tmp/x.sock"))


def test_the_likely_cause_is_the_last_real_error() -> None:
    lines = [
        "(EngineCore pid=1) WARNING x] OSError: ulimit is low",
        "(EngineCore pid=1) ERROR x] ValueError: head size 48 is not supported",
        "RuntimeError: Engine core initialization failed. See root cause above.",
        "done",
    ]
    assert likely_cause(lines) == "head size 48 is not supported"
    pydantic = ["pydantic.ValidationError: 1 validation error for ModelConfig", "  Value error, no such architecture"]
    assert likely_cause(pydantic) == "no such architecture"
    assert likely_cause(["a", "b"]) == "b"
