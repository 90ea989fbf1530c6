"""GET /health and /ready: alive, and fit to answer."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel

from preference import keys
from preference.errors import AttuneError
from server.routes.requests import ServicesOf
from server.services import Services

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """``ready``, ``loading`` or ``failed``, and the same for each part."""

    status: str
    engine: str
    store: str
    worker: str
    reason: str | None = None


@router.get("/health")
async def health() -> Health:
    """Always ok while the process runs."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness}})
async def ready(services: ServicesOf, response: Response) -> Readiness:
    """503 until the engine answers and the database is up to date."""
    engine, store = await asyncio.gather(_engine(services), _store(services))
    worker = "ready" if services.workers else "elsewhere"
    if any(task.done() and task.get_name() == "worker" for task in services.tasks):
        worker = "failed"
    parts = {engine, store, worker}
    status = "failed" if "failed" in parts else "ready" if parts <= {"ready", "elsewhere"} else "loading"
    if status != "ready":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    reason = services.engine_process.reason if services.engine_process else None
    return Readiness(status=status, engine=engine, store=store, worker=worker, reason=reason)


async def _engine(services: Services) -> str:
    if services.engine_process is not None and services.engine_process.state != "ready":
        return services.engine_process.state
    return "ready" if await services.engine.ready() else "unreachable"


async def _store(services: Services) -> str:
    try:
        await services.database.read(keys.any_active)  # migrations were settled at start; any query shows the rest
        return "ready"
    except AttuneError:
        return "unreachable"
