"""The servers of a benchmark as child processes on loopback: a mock engine, vLLM, Attune, LiteLLM, vllm-router."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from server.models.catalog import KNOWN
from server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
MODEL = "attune-tiny"
REAL_MODEL = "smollm2-135m"
VLLM_ROUTER = ROOT / ".venv-router" / "bin" / "vllm-router"
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
START_SECONDS = 300
_MANY = str(1 << 14)  # limits out of the way: what is measured is what a server can do


class NotStarted(Exception):
    """A server ended, or did not answer in time; the message ends in its last lines."""


@dataclass(frozen=True)
class Server:
    """One that answers."""

    name: str
    port: int
    pid: int
    key: str = "none"
    model: str = MODEL

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def mock_engine(folder: Path) -> AsyncIterator[Server]:
    """The mock engine."""
    port = free_port()
    async with _running("mock", [sys.executable, "-m", "bench.mock_engine", str(port)], port, "/health", folder) as up:
        yield up


_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"


@contextlib.asynccontextmanager
async def vllm(
    folder: Path,
    *,
    max_loras: int = 4,
    max_cpu_loras: int = 16,
    port: int | None = None,
    model: tuple[str, Path] = (MODEL, ROOT / "lab" / "model"),
    cache_gib: int = 1,
    **settings: str,
) -> AsyncIterator[Server]:
    """vLLM with a model, by default the bundled one, and room for adapters, as Attune starts its own.

    ``settings`` are its plugin's.
    """
    port = port or free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(model[1]), "--served-model-name", model[0], "--gpu-memory-utilization", "0.3"),
        *("--enable-lora", "--max-loras", str(max_loras), "--max-cpu-loras", str(max_cpu_loras)),
        *("--max-lora-rank", "8"),
        *(
            "--enable-prefix-caching",
            "--disable-uvicorn-access-log",
            "--disable-fastapi-docs",
            "--uvicorn-log-level",
            "warning",
        ),
    ]
    environment = {
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # to ask its workers which adapters they hold
    }  # fmt: skip
    if _vllm_for_cpu():
        command += ["--dtype", "float32", "--enforce-eager", "--distributed-executor-backend", _ONE_PROCESS]
        environment |= {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment["OMP_NUM_THREADS"] = "1"
    environment |= {f"ATTUNE_{name.upper()}": value for name, value in settings.items()}
    async with _running("vllm", command, port, "/health", folder, environment) as up:
        yield replace(up, model=model[0])


@contextlib.asynccontextmanager
async def smollm(folder: Path) -> AsyncIterator[Server]:
    """vLLM with a real model, SmolLM2-135M-Instruct. Raises ``NotStarted`` where it was not fetched."""
    place = KNOWN[REAL_MODEL].folder(Settings().models_folder)
    if not (place / "model.safetensors").is_file():
        raise NotStarted(f"{REAL_MODEL} is not there: attune models fetch {REAL_MODEL}")
    async with vllm(folder, model=(REAL_MODEL, place), cache_gib=4) as up:
        yield replace(up, name="smollm")


@contextlib.asynccontextmanager
async def vllm_router(folder: Path, engines: Sequence[Server]) -> AsyncIterator[Server]:
    """vllm-router before ``engines``: a session's requests go to one of them, while it is well."""
    port = free_port()
    command = [
        *(str(VLLM_ROUTER), "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *(one.url for one in engines)),
        *("--policy", "consistent_hash", "--prometheus-port", str(free_port()), "--log-level", "error"),
        *("--health-check-interval-secs", "2", "--health-failure-threshold", "1", "--health-success-threshold", "1"),
        # A request is tried six times, and on another engine once its own has failed so often: 10 by default.
        *("--cb-failure-threshold", "2", "--cb-timeout-duration-secs", "2"),
    ]
    async with _running("vllm-router", command, port, "/v1/models", folder) as up:
        yield replace(up, model=engines[0].model)


@contextlib.asynccontextmanager
async def attune(folder: Path, engine: Server, **settings: object) -> AsyncIterator[Server]:
    """Attune as its users run it, with a key, an empty data folder (SQLite), and ``engine`` behind it.

    ``settings`` are further ones, or others than these, by their names in lower case.
    """
    environment = _attune(folder, engine, free_port(), settings)
    command = [sys.executable, "-m", "server", "keys", "create", "bench", "--json"]
    key = await asyncio.to_thread(make_key, command, environment)
    async with attune_again(folder, engine, int(environment["ATTUNE_PORT"]), key, settings) as up:
        yield up


@contextlib.asynccontextmanager
async def attune_again(
    folder: Path, engine: Server, port: int, key: str, settings: Mapping[str, object]
) -> AsyncIterator[Server]:
    """The same, at a port, with what is there and a key that was made before."""
    command = [sys.executable, "-m", "server", "serve"]
    environment = _attune(folder, engine, port, settings)
    async with _running("attune", command, port, "/ready", folder, environment) as up:
        yield replace(up, key=key, model=engine.model)


def _attune(folder: Path, engine: Server, port: int, settings: Mapping[str, object]) -> dict[str, str]:
    return {
        "ATTUNE_PORT": str(port), "ATTUNE_DATA_DIR": str(folder / f"data-{engine.name}"),
        "ATTUNE_ENGINE_URL": engine.url, "ATTUNE_IN_FLIGHT_PER_KEY": _MANY, "ATTUNE_IN_FLIGHT_TOTAL": _MANY,
        **{f"ATTUNE_{name.upper()}": str(value) for name, value in settings.items()},
    }  # fmt: skip


@contextlib.asynccontextmanager
async def litellm(folder: Path, engine: Server) -> AsyncIterator[Server]:
    """LiteLLM's proxy with one worker, no database, no callbacks and logging off, as its documentation advises."""
    port = free_port()
    model = {"model": f"hosted_vllm/{engine.model}", "api_base": f"{engine.url}/v1", "api_key": "none"}
    config = folder / f"litellm-{engine.name}.json"  # JSON is YAML
    settings = {"callbacks": [], "num_retries": 0, "request_timeout": 600, "set_verbose": False, "telemetry": False}
    config.write_text(
        json.dumps(
            {"model_list": [{"model_name": engine.model, "litellm_params": model}], "litellm_settings": settings}
        )
    )
    command = [
        *(str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    ]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment["LITELLM_MASTER_KEY"] = key = f"sk-{secrets.token_hex(32)}"
    async with _running("litellm", command, port, "/health/liveliness", folder, environment) as up:
        yield replace(up, key=key, model=engine.model)


async def set_pace(engine: Server, milliseconds: float, slots: int = 0) -> None:
    """Set the time between two tokens of a mock engine, and how many answers it may have under way; 0 is any."""
    asked = f"ms={milliseconds}&slots={slots}" if slots else f"ms={milliseconds}"
    async with aiohttp.ClientSession() as session, session.post(f"{engine.url}/pace?{asked}") as response:
        response.raise_for_status()


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_router() -> bool:
    """Whether the router's environment was set up."""
    return VLLM_ROUTER.is_file()


def router_version() -> str | None:
    """The version in the router's environment."""
    found = sorted((ROOT / ".venv-router").glob("lib/python*/site-packages/vllm_router-*.dist-info"))
    return found[0].name.removeprefix("vllm_router-").removesuffix(".dist-info") if found else None


def has_litellm() -> bool:
    """Whether LiteLLM's environment was set up."""
    return LITELLM.is_file()


def litellm_version() -> str | None:
    """The version in LiteLLM's environment."""
    found = sorted((ROOT / ".venv-litellm").glob("lib/python*/site-packages/litellm-*.dist-info"))
    return found[0].name.removeprefix("litellm-").removesuffix(".dist-info") if found else None


@contextlib.asynccontextmanager
async def _running(
    name: str, command: Sequence[str], port: int, path: str, folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    log = folder / f"{name}-{port}.log"
    process = await asyncio.to_thread(_start, command, _environment(environment or {}), log)
    try:
        if not await _answers(f"http://127.0.0.1:{port}{path}", process):
            lines = await asyncio.to_thread(log.read_text, errors="replace")
            raise NotStarted(f"{name} did not start:\n" + "\n".join(lines.splitlines()[-15:]))
        yield Server(name, port, process.pid)
    finally:
        await asyncio.to_thread(_stop, process)


def _environment(further: Mapping[str, str]) -> dict[str, str]:
    """Ours, less what would configure a server otherwise than it is described."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ATTUNE_", "LITELLM_"))}
    return {**inherited, **further}


def _start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("w") as file:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: nobody else is in it
        process.wait()


async def _answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for _ in range(START_SECONDS * 5):
            if process.poll() is not None:
                return False
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return True
            await asyncio.sleep(0.2)
    return False


def make_key(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What `attune keys create --json` gives. Raises ``NotStarted`` where it refuses."""
    made = subprocess.run(command, cwd=ROOT, env=_environment(environment), capture_output=True, text=True)
    if made.returncode:
        raise NotStarted(f"attune keys create: {made.stderr}")
    return str(json.loads(made.stdout)["key"])


def _vllm_for_cpu() -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-cpu")
        return True
    return shutil.which("nvidia-smi") is None
