"""create_app(settings): the routes, their layers, and the lifespan that holds the services."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import uvloop
from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Route

from adapters.training.process import RunTrainer
from preference.ports import Kinds
from server import errors, startup
from server.access import Access
from server.composition import build
from server.console import routes as console
from server.data.storage import private_directory
from server.default_model import with_default
from server.http import middleware, openapi
from server.http.body import bounded_body
from server.http.legible import legible
from server.http.listener import Listener, allow_many_files, bound
from server.mcp import mounted
from server.routes import (
    adapters,
    caller,
    curve,
    docs,
    embeddings,
    export,
    feedback,
    fine_tuning,
    generations,
    health,
    imports,
    jobs,
    keys,
    metrics,
    models,
    preferences,
    status,
    tokens,
    turns,
    usage,
    users,
)
from server.services import Services, engine_state
from server.settings import Settings
from server.startup import Startup
from store.keys import any_ever

_RATES = [f"x-ratelimit-{part}-{what}" for what in ("requests", "tokens") for part in ("limit", "remaining", "reset")]


def create_app(
    settings: Settings,
    *,
    services: Services | None = None,
    embedder: Kinds | None = None,
    run_trainer: RunTrainer | None = None,
) -> FastAPI:
    """The server as an ASGI application. Its lifespan builds the services unless they are given."""
    tools = mounted.Mounted(settings.body_limit)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = services or await stack.enter_async_context(
                build(settings, embedder=embedder, run_trainer=run_trainer)
            )
            await stack.enter_async_context(tools.running())
            yield

    app = FastAPI(
        title="Attune",
        summary="A personalized assistant inference server: edits are the feedback.",
        description=openapi.DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # a page of ours: FastAPI's fetches its scripts from elsewhere
        redoc_url=None,
    )
    app.state.draining = False
    app.state.prefix = settings.root_path
    v1 = APIRouter(
        prefix="/v1",
        dependencies=[*openapi.SECURITY, Depends(bounded_body), Depends(legible)],
        responses=openapi.ALWAYS,
    )
    v1.include_router(users.everybody)
    for part in (
        *(generations, embeddings, models, feedback, turns, preferences),
        *(adapters, fine_tuning, users, tokens, export, curve, usage, caller, keys, jobs, status, imports),
    ):
        v1.include_router(part.router)
    app.include_router(v1)
    for part in (health, metrics, docs, console):
        app.include_router(part.router)
    app.router.routes.append(Route(mounted.PATH, tools, methods=["POST"]))
    errors.install(app)
    openapi.install(app, settings.root_path)
    # The last one added sees a request first.
    app.add_middleware(middleware.BodyLimit, limit=settings.body_limit, import_limit=settings.import_limit)
    app.add_middleware(middleware.Admission, origins=settings.cors)
    app.add_middleware(middleware.RawUserPath)
    app.add_middleware(Access)
    app.add_middleware(middleware.RequestId)
    if settings.cors:  # outside of what refuses: a page may read why, and asks first without a key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After", *_RATES],
            max_age=3600,
        )
    app.add_middleware(middleware.Arrival, prefix=settings.root_path)
    return app


def serve(
    settings: Settings,
    *,
    build: Callable[..., AbstractAsyncContextManager[Services]] = build,
    told: Startup | None = None,
) -> str | None:
    """Serve until SIGTERM or SIGINT; the reason, in one sentence, when the engine could not start at all.

    ``told`` hears what is going on until it is ready. Raises ``StartRefused``, or another ``AttuneError``, in one
    sentence before it listens.
    """
    told = told or Startup()
    try:
        return uvloop.run(_serve(settings, build, told))
    finally:
        told.close()


async def _serve(
    settings: Settings, build: Callable[..., AbstractAsyncContextManager[Services]], told: Startup
) -> str | None:
    failure: list[str] = []
    server: Listener | None = None

    def leave(*_: object) -> None:
        if server is not None:
            server.should_exit = True

    def stop(reason: str) -> None:
        failure.append(reason)
        leave()

    async with AsyncExitStack() as stack:
        settings.check()
        sockets = bound(settings.host, settings.port)  # before an engine is started for nothing
        for one in sockets:
            stack.callback(one.close)
        private_directory(settings.data_dir)
        settings = await asyncio.to_thread(with_default, settings, told.say, told.fetched)
        told.step("Opening the database, and migrating it where that is due")
        services = await stack.enter_async_context(build(settings, on_fatal=stop))
        allow_many_files()
        server = Listener(create_app(settings, services=services), settings, cut=services.cut)
        # Until uvicorn listens; and it raises a signal that stopped it once more, while the services are still up.
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, leave)
        if not failure:
            _favour_the_event_loop()
            told.step("Loading the model")
            greeting = asyncio.create_task(_greet(services, told, _address(settings, sockets)))
            await server.serve(sockets=sockets)
            greeting.cancel()
            told.step("Stopping")
            gc.unfreeze()  # what is frozen is not freed at exit, and triton's bindings write to stderr of each leak
    return failure[0] if failure else None


async def _greet(services: Services, told: Startup, address: str) -> None:
    """Say that it is ready, once it is."""
    while await engine_state(services.engine, services.engine_process) != "ready":  # noqa: ASYNC110
        await asyncio.sleep(0.3)
    settings = services.settings
    keyed = await services.database.read(any_ever)
    shown = startup.facts(settings, address, settings.model_name)
    told.ready(shown, startup.example(address, settings.model_name, key=keyed))


def _address(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    """Where this machine finds it, as far as the server knows."""
    host = settings.host if settings.loopback else "localhost"
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{sockets[0].getsockname()[1]}{settings.root_path}"


def _favour_the_event_loop() -> None:
    """Keep the garbage collector off what is loaded by now, which takes it a third of a second each time.

    A thread that computes gives the interpreter up after half a millisecond, not after five.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)


def _version() -> str:
    try:
        return version("attune")
    except PackageNotFoundError:
        return "0"
