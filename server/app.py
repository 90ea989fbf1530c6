"""create_app(settings): the routes, their layers, and the lifespan that holds the services."""

import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import uvloop
from fastapi import APIRouter, FastAPI

from adapters.trainer_process import RunTrainer
from preference.ports import Embedder
from server import errors, middleware, openapi
from server.access import Access
from server.limits import Limits
from server.listener import Listener, allow_many_files
from server.routes import (
    adapters,
    export,
    feedback,
    fine_tuning,
    generations,
    health,
    metrics,
    models,
    preferences,
    turns,
    users,
)
from server.services import Services, build
from server.settings import Settings


def create_app(
    settings: Settings,
    *,
    services: Services | None = None,
    embedder: Embedder | None = None,
    run_trainer: RunTrainer | None = None,
) -> FastAPI:
    """The server as an ASGI application. Its lifespan builds the services unless they are given."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if services is not None:
            app.state.services = services
            yield
            return
        async with build(settings, embedder=embedder, run_trainer=run_trainer) as built:
            app.state.services = built
            yield

    app = FastAPI(
        title="Attune",
        summary="A personalized assistant inference server: edits are the feedback.",
        description=openapi.DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.draining = False
    v1 = APIRouter(prefix="/v1", dependencies=openapi.SECURITY, responses=openapi.ALWAYS)
    for part in (generations, models, feedback, turns, preferences, adapters, fine_tuning, users, export):
        v1.include_router(part.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.include_router(metrics.router)
    errors.install(app)
    openapi.install(app)
    # The last one added sees a request first.
    app.add_middleware(middleware.BodyLimit, limit=settings.body_limit, import_limit=settings.import_limit)
    app.add_middleware(
        middleware.Gate,
        limits=Limits(
            requests_per_minute=settings.requests_per_minute,
            in_flight=settings.in_flight_per_key,
            total=settings.in_flight_total,
        ),
    )
    app.add_middleware(middleware.RawUserPath)
    app.add_middleware(Access)
    app.add_middleware(middleware.RequestId)
    return app


def serve(settings: Settings, *, build: Callable[..., AbstractAsyncContextManager[Services]] = build) -> str | None:
    """Serve until SIGTERM or SIGINT; the reason, in one sentence, when the engine could not start at all.

    Raises ``StartRefused``, or another ``AttuneError``, in one sentence before it listens.
    """
    return uvloop.run(_serve(settings, build))


async def _serve(settings: Settings, build: Callable[..., AbstractAsyncContextManager[Services]]) -> str | None:
    failure: list[str] = []
    server: Listener | None = None

    def leave(*_: object) -> None:
        if server is not None:
            server.should_exit = True

    def stop(reason: str) -> None:
        failure.append(reason)
        leave()

    async with build(settings, on_fatal=stop) as services:
        allow_many_files()
        server = Listener(create_app(settings, services=services), settings, cut=services.cut)
        # Until uvicorn listens; and it raises a signal that stopped it once more, while the services are still up.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, leave)
        if not failure:
            _favour_the_event_loop()
            await server.serve()
            gc.unfreeze()  # what is frozen is not freed at exit, and triton's bindings write to stderr of each leak
    return failure[0] if failure else None


def _favour_the_event_loop() -> None:
    """What is there by now stays: the collector need not look at it, which takes a third of a second each time.

    And a thread that computes gives the interpreter up after half a millisecond, not after five.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)


def _version() -> str:
    try:
        return version("attune")
    except PackageNotFoundError:
        return "0"
