"""create_app(settings): the routes, their layers, and the lifespan that holds the services."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import uvicorn
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer

from server import errors, middleware
from server.routes import adapters, chat, feedback, health, models, preferences, turns, users
from server.services import CachingEmbedder, build
from server.settings import Settings

log = logging.getLogger(__name__)


def create_app(
    settings: Settings, *, embedder: CachingEmbedder | None = None, on_fatal: Callable[[str], None] | None = None
) -> FastAPI:
    """The server as an ASGI application. Its start raises ``StartRefused`` in one sentence.

    ``on_fatal`` is told when the engine cannot start at all; the app then stays up and /ready says so.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with build(settings, embedder=embedder, on_fatal=on_fatal or _stay_up) as services:
            if await services.identity.start():
                log.warning("No API key exists: anybody on this machine may ask, as tenant 'local'.")
            app.state.services = services
            yield

    app = FastAPI(
        title="Attune",
        summary="A personalized assistant inference server: edits are the feedback.",
        version=_version(),
        lifespan=lifespan,
    )
    v1 = APIRouter(prefix="/v1", dependencies=[Security(HTTPBearer(auto_error=False))])
    for part in (chat, models, feedback, turns, preferences, adapters, users):
        v1.include_router(part.router)
    app.include_router(v1)
    app.include_router(health.router)
    errors.install(app)
    # The last one added sees a request first.
    app.add_middleware(middleware.BodyLimit, limit=settings.body_limit)
    app.add_middleware(middleware.Gate, per_tenant=settings.in_flight_per_tenant, total=settings.in_flight_total)
    app.add_middleware(middleware.RawUserPath)
    app.add_middleware(middleware.RequestId)
    return app


def serve(settings: Settings) -> str | None:
    """Serve until SIGTERM or SIGINT; the reason, in one sentence, when the engine could not start at all."""
    failure: list[str] = []

    def stop(reason: str) -> None:
        failure.append(reason)
        server.should_exit = True

    config = uvicorn.Config(
        create_app(settings, on_fatal=stop),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=round(settings.drain_seconds),
        timeout_keep_alive=75,
        ws="none",
    )
    server = uvicorn.Server(config)
    server.run()
    return failure[0] if failure else None


def _stay_up(reason: str) -> None:
    """The default of ``on_fatal``."""


def _version() -> str:
    try:
        return version("attune")
    except PackageNotFoundError:
        return "0"
