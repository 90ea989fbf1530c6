"""The servers of a benchmark as child processes on loopback: a mock engine, vLLM, Attune, LiteLLM, vllm-router."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from lab.child import ServerFailed, free_port, running
from server.models.catalog import KNOWN
from server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = ROOT / "lab" / "model"
MODEL = "attune-tiny"
REAL_MODEL = "smollm2-135m"
VLLM_ROUTER = ROOT / ".venv-router" / "bin" / "vllm-router"
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
START_SECONDS = 300
_LOCAL = ("--host", "127.0.0.1", "--port")
_MANY = str(1 << 14)  # limits out of the way: what is measured is what a server can do


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

    def session(self, user: str | None = None) -> aiohttp.ClientSession:
        """A client with its key, as that user, for what is not timed."""
        headers = {"Authorization": f"Bearer {self.key}"} | ({"X-User-Id": user} if user else {})
        return aiohttp.ClientSession(self.url, headers=headers)


@asynccontextmanager
async def mock_engine(folder: Path) -> AsyncIterator[Server]:
    """The mock engine."""
    port = free_port()
    async with _running("mock", [sys.executable, "-m", "bench.mock_engine", str(port)], port, "/health", folder) as up:
        yield up


@asynccontextmanager
async def vllm(
    folder: Path,
    *,
    max_loras: int = 4,
    max_cpu_loras: int = 16,
    port: int | None = None,
    model: tuple[str, Path] = (MODEL, BUNDLED),
    cache_gib: int = 1,
    **settings: str,
) -> AsyncIterator[Server]:
    """vLLM with a model, by default the bundled one, and room for adapters, as Attune starts its own.

    ``settings`` are its plugin's.
    """
    port = port or free_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_LOCAL, str(port)),
        *("--model", str(model[1]), "--served-model-name", model[0], "--gpu-memory-utilization", "0.3"),
        *("--enable-lora", "--max-lora-rank", "8", "--max-loras", str(max_loras)),
        *("--max-cpu-loras", str(max_cpu_loras), "--enable-prefix-caching"),
        *("--disable-uvicorn-access-log", "--disable-fastapi-docs", "--uvicorn-log-level", "warning"),
    ]
    environment = {
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # to ask its workers which adapters they hold
        **_environment(settings),
    }  # fmt: skip
    if _vllm_for_cpu():
        one_process = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
        command += ["--dtype", "float32", "--enforce-eager", "--distributed-executor-backend", one_process]
        environment |= {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment["OMP_NUM_THREADS"] = "1"
    async with _running("vllm", command, port, "/health", folder, environment) as up:
        yield replace(up, model=model[0])


@asynccontextmanager
async def smollm(folder: Path) -> AsyncIterator[Server]:
    """vLLM with a real model, SmolLM2-135M-Instruct. Raises ``ServerFailed`` where it was not fetched."""
    place = KNOWN[REAL_MODEL].folder(Settings().models_folder)
    if not (place / "model.safetensors").is_file():
        raise ServerFailed(f"{REAL_MODEL} is not there: attune models fetch {REAL_MODEL}")
    async with vllm(folder, model=(REAL_MODEL, place), cache_gib=4) as up:
        yield replace(up, name="smollm")


@asynccontextmanager
async def vllm_router(folder: Path, engines: Sequence[Server]) -> AsyncIterator[Server]:
    """vllm-router before ``engines``: a session's requests go to one of them, while it is well."""
    port = free_port()
    command = [
        *(str(VLLM_ROUTER), *_LOCAL, str(port), "--worker-urls", *(one.url for one in engines)),
        *("--policy", "consistent_hash", "--prometheus-port", str(free_port()), "--log-level", "error"),
        *("--health-check-interval-secs", "2", "--health-failure-threshold", "1", "--health-success-threshold", "1"),
        # A request is tried six times, and on another engine once its own has failed so often: 10 by default.
        *("--cb-failure-threshold", "2", "--cb-timeout-duration-secs", "2"),
    ]
    async with _running("vllm-router", command, port, "/v1/models", folder) as up:
        yield replace(up, model=engines[0].model)


@asynccontextmanager
async def attune(
    folder: Path, engine: Server, *, port: int | None = None, key: str | None = None, **settings: Any
) -> AsyncIterator[Server]:
    """Attune as its users run it, before ``engine``, by default with a new key and an empty data folder (SQLite).

    ``settings`` are further ones, or others than these, by their names in lower case.
    """
    port = port or free_port()
    own = {
        "port": port, "data_dir": folder / f"data-{engine.name}", "engine_url": engine.url,
        "in_flight_per_key": _MANY, "in_flight_total": _MANY, **settings,
    }  # fmt: skip
    key = key or await make_key(own)
    command = [sys.executable, "-m", "server", "serve"]
    async with _running("attune", command, port, "/ready", folder, _environment(own)) as up:
        yield replace(up, key=key, model=engine.model)


async def make_key(settings: Mapping[str, object], *arguments: str) -> str:
    """A key of a server with these settings. Raises ``ServerFailed`` where the command refuses."""
    command = [sys.executable, "-m", "server", "keys", "create", "bench", "--json", *arguments]
    environment = {**_inherited(), **_environment(settings)}
    made = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise ServerFailed(f"attune keys create: {made.stderr}")
    return str(json.loads(made.stdout)["key"])


@asynccontextmanager
async def litellm(folder: Path, engine: Server) -> AsyncIterator[Server]:
    """LiteLLM's proxy with one worker, no database, no callbacks and logging off, as its documentation advises."""
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"
    model = {"model": f"hosted_vllm/{engine.model}", "api_base": f"{engine.url}/v1", "api_key": "none"}
    settings = {"callbacks": [], "num_retries": 0, "request_timeout": 600, "set_verbose": False, "telemetry": False}
    config = {"model_list": [{"model_name": engine.model, "litellm_params": model}], "litellm_settings": settings}
    file = folder / f"litellm-{engine.name}.json"  # JSON is YAML
    file.write_text(json.dumps(config))
    command = [str(LITELLM), "--config", str(file), *_LOCAL, str(port), "--num_workers", "1"]
    environment = {
        "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": key,
    }  # fmt: skip
    async with _running("litellm", command, port, "/health/liveliness", folder, environment) as up:
        yield replace(up, key=key, model=engine.model)


async def set_pace(engine: Server, milliseconds: float, slots: int = 0) -> None:
    """Set the time between two tokens of a mock engine, and how many answers it may have under way; 0 is any."""
    asked = f"ms={milliseconds}&slots={slots}" if slots else f"ms={milliseconds}"
    async with engine.session() as session:
        await call(session, "POST", f"/pace?{asked}")


async def call(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    """The JSON, or else the text, that a server answers. Raises ``ServerFailed`` for an error."""
    async with session.request(method, path, json=body) as response:
        if response.status >= 300:
            raise ServerFailed(f"{method} {path} answered {response.status}: {(await response.text())[:300]}")
        return await response.json() if response.content_type == "application/json" else await response.text()


async def loras_in_workers(engine: Server) -> int:
    """How many adapters' weights some worker of a vLLM holds, by its own list."""
    async with engine.session() as session:
        told = await call(session, "POST", "/collective_rpc", {"method": "list_loras"})
    return len({number for worker in told["results"] for number in re.findall(r"\d+", str(worker))})


@asynccontextmanager
async def _running(
    name: str, command: Sequence[str], port: int, path: str, folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """The program until the block ends, once it answers at ``path``."""
    log, around = folder / f"{name}-{port}.log", {**_inherited(), **(environment or {})}
    async with running(name, command, port, path, log, around, cwd=ROOT, seconds=START_SECONDS) as pid:
        yield Server(name, port, pid)


def _inherited() -> dict[str, str]:
    """Our environment, less what would configure a server otherwise than it is described."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("ATTUNE_", "LITELLM_"))}


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"ATTUNE_{name.upper()}": str(value) for name, value in settings.items()}


def _vllm_for_cpu() -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm-cpu")
        return True
    return shutil.which("nvidia-smi") is None
