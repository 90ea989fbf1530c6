"""GET /health and /ready: alive, and fit to answer."""

import asyncio
from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from server.once import Once
from server.routes.requests import ServicesOf
from server.services import Services, engine_state
from store import keys
from store.errors import AttuneError

Status = Literal["ready", "loading", "failed", "draining"]
Store = Literal["ready", "no_writes", "unreachable"]
Work = Literal["ready", "failed", "elsewhere"]

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """``ready``, ``loading``, ``failed`` or ``draining``, and much the same for each part."""

    status: Status
    engine: str = Field(
        description="`loading`, `ready`, `restarting`, `failed`, `stopped` or `unreachable`.", examples=["ready"]
    )
    store: Store
    worker: Work
    reason: str | None = Field(default=None, description="Why the engine or the store is not ready.", examples=[None])


@router.get("/health")
async def health() -> Health:
    """Always ok while the process runs."""
    return Health()


@router.get("/ready", responses={503: {"model": Readiness, "description": "Not fit to answer: the parts say why."}})
async def ready(services: ServicesOf, request: Request, response: Response) -> Readiness:
    """503 while the server stops, and until the engine answers and the database is up to date."""
    if (ask := getattr(request.app.state, "parts", None)) is None:
        ask = request.app.state.parts = Once(partial(_parts, services), age=1.0, patience=5.0)
    engine, store = await ask() or _UNREACHABLE
    worker: Work = "ready" if services.workers else "elsewhere"
    if any(task.done() and task.get_name() == "worker" for task in services.tasks):
        worker = "failed"
    parts = {engine, store, worker}
    status: Status = "failed" if "failed" in parts else "ready" if parts <= {"ready", "elsewhere"} else "loading"
    if request.app.state.draining:
        status = "draining"
    if status != "ready":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    reason = services.engine_process.reason if services.engine_process else None
    if store == "no_writes":
        reason = "The database takes no writes: it is full, locked or read-only. The log says which."
    return Readiness(status=status, engine=engine, store=store, worker=worker, reason=reason)


_UNREACHABLE: tuple[str, Store] = ("unreachable", "unreachable")


async def _parts(services: Services) -> tuple[str, Store]:
    return await asyncio.gather(engine_state(services.engine, services.engine_process), _store(services))


async def _store(services: Services) -> Store:
    try:
        await services.database.read(keys.any_ever)  # migrations were settled at start; any query shows the rest
    except AttuneError:
        return "unreachable"
    try:
        await services.database.write_health.confirm()
    except AttuneError:
        return "no_writes"
    return "ready"
