"""The engines that a server asks: one of its own, remote ones, or those behind a router."""

import logging
import shutil
from collections.abc import Callable
from typing import Any

from server.engine.base_hash import BaseHash
from server.engine.client import Engine
from server.engine.endpoints import Endpoints
from server.engine.router import Router
from server.engine.supervisor import EngineSupervisor, command, environment, on_cpu
from server.errors import StartRefused
from server.observability.tracing import Tracing
from server.settings import Settings
from store.errors import AttuneError

log = logging.getLogger(__name__)


def open_hosts(
    settings: Settings, on_restart: Callable[[], None], traces: Tracing, secret: bytes
) -> tuple[dict[str, Engine], EngineSupervisor | None]:
    """Those of the settings, by URL, or one of our own with its process."""
    common: dict[str, Any] = {
        "base_model": settings.model_name,
        "read_timeout": settings.engine_read_timeout,
        "trace_headers": traces.headers,
    }
    if settings.engine_urls:
        common |= {"api_key": settings.engine_key, "by_priority": settings.engine_by_priority}
        if settings.engine_router:
            (url,), endpoints = settings.engine_urls, Endpoints(settings.engine_endpoints or "")
            return {url: Router(url, endpoints=endpoints, secret=secret, **common)}, None
        return {url: Engine(url, **common) for url in settings.engine_urls}, None
    if settings.bundled:
        log.warning("Serving the bundled model as %r: it knows only a few hundred words", settings.model_name)
    if shutil.which("nvidia-smi") and on_cpu():
        log.warning("there is a GPU here, but vLLM's CPU build is installed")
    folder = EngineSupervisor.private_folder()
    socket = folder / "vllm.sock"
    by_priority = "--scheduling-policy" not in settings.engine_args
    engine = Engine("http://engine", socket=socket, by_priority=by_priority, **common)
    process = EngineSupervisor(
        command(settings, socket),
        environment=environment(settings, folder),
        folder=folder,
        log_file=settings.data_dir / "logs" / "vllm.log",
        probe=engine.ready,
        on_restart=on_restart,
        start_timeout=settings.engine_start_timeout,
    )
    return {"own": engine}, process


async def check_router(router: Router, base_hash: BaseHash) -> None:
    """Raise ``StartRefused`` when an engine that answers would not do what it has to. Others are looked at in use."""
    try:
        await router.ready()
        wrong = await router.strangers(await base_hash())
    except AttuneError as error:
        log.warning("the engines behind the router could not be looked at: %s", error.message)
        return
    if wrong:
        raise StartRefused(f"The engine {'; the engine '.join(wrong[:3])}.")
