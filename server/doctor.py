"""`attune doctor`: looks at a deployment, each part by itself, and says what is wrong and what to do.

It changes nothing: the database is not migrated, nothing is loaded into an engine, and what it writes to a store to see
whether it can is removed. It needs no server that runs, and harms none that does.
"""

import asyncio
import contextlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

import fsspec
import httpx

from adapters import versions
from adapters.store import Store
from preference import embedding, keys, limits, shared_secret
from preference.database import Database, clock
from preference.embedder import SentenceEmbedder
from preference.errors import AttuneError, Invalid
from preference.kind import KindEmbedder
from preference.limits import Demand, Limit
from server.base_hash import BaseHash
from server.common_count import PATIENCE as PATIENCE_OF_COUNT
from server.endpoints import Endpoints
from server.engine_process import in_float32, on_cpu
from server.errors import StartRefused
from server.processor import cores
from server.router import Router
from server.settings import Settings

State = Literal["ok", "warning", "error"]
CLOCKS = 5.0
"""Seconds that clocks may differ: leases of jobs last a minute, tokens of users some."""
FREE = 2 << 30
"""Bytes that a data folder should have free: a database grows, and an adapter is staged before it is published."""
PATIENCE = 10.0
SAMPLE = 20
"""Versions that are looked for in the store."""
_NO_ADAPTER = {"lora_name": "attune-doctor", "lora_path": "/attune-doctor"}


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, in a sentence, and what to do where it is not well."""

    part: str
    state: State
    said: str
    advice: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Everything, the cheap parts first. A part that cannot be looked at is a finding, never an exception."""
    found = [*_settings(settings), *_disk(settings)]
    found += [one async for one in _database(settings)]
    found += await asyncio.to_thread(_store, settings)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        found += [one async for one in _server(settings, client)]
        if settings.engine_urls:
            each = await asyncio.gather(*(_engine(url, settings, client) for url in settings.engine_urls))
            found += [*(one for findings in each for one in findings), *_alike(each)]
            if settings.engine_router:
                found += await _behind(settings)
        else:
            found += _own_engine(settings)
        found += [one async for one in _learner(settings, client)]
    return found


def _settings(settings: Settings) -> list[Finding]:
    try:
        settings.check()
    except StartRefused as error:
        return [Finding("settings", "error", str(error), "Change it: `attune settings` lists what there is.")]
    found = [Finding("settings", "ok", "They go together.")]
    if settings.engine_urls and not settings.worker_in_process:
        found.append(Finding("worker", "ok", "Learning and training are left to `attune worker`, which must run."))
    return found


def _disk(settings: Settings) -> list[Finding]:
    folder = settings.data_dir.resolve()
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # a folder of others is none
    if not os.access(there, os.W_OK | os.X_OK):
        return [Finding("data folder", "error", f"{folder} cannot be written.", "Set ATTUNE_DATA_DIR to another one.")]
    found = []
    if there == folder and folder.stat().st_mode & 0o077:
        told = f"{folder} can be read by others of this machine."
        found.append(Finding("data folder", "warning", told, f"chmod 700 {folder}"))
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:,.1f} GiB are free where {folder} is."
    if free < FREE:
        advice = "Free some: without room nothing can be stored, and the server is not ready."
        return [*found, Finding("disk", "warning", told, advice)]
    return [*found, Finding("disk", "ok", told)]


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    part = "database"
    if settings.database_url is None and not (settings.data_dir / "attune.db").exists():
        yield Finding(part, "ok", "There is none yet: the first start makes it.")
        return
    try:
        with contextlib.closing(Database(settings.database, threads=1, busy_seconds=PATIENCE)) as database:
            if database.pending():
                state: State = "ok" if settings.migrate else "error"
                advice = "Back it up; a start with ATTUNE_MIGRATE=true migrates it."
                yield Finding(part, state, "It has migrations pending.", advice)
                return
            started = time.monotonic()
            known = await database.read(keys.any_ever)
            told = f"A query takes {1000 * (time.monotonic() - started):.0f} ms."
            await database.pulse.feel()
            yield Finding(part, "ok", f"It is up to date and takes writes. {told}")
            yield _keys(settings, known)
            if settings.database.startswith("postgresql"):
                yield _clock("database's clock", await database.read(clock) - time.time())
            yield await _embedder(settings, database)
            if settings.shared_limits or settings.tokens_per_day or settings.tokens_per_day_per_user:
                yield await _limits(settings, database)
            for one in await _secret(settings, database):
                yield one
            if settings.adapter_store:
                yield await _published(settings.adapter_store, database)
    except (AttuneError, StartRefused) as error:
        yield Finding(part, "error", str(error), "Check ATTUNE_DATABASE_URL, and that the database runs and has room.")


def _keys(settings: Settings, known: bool) -> Finding:
    if known:
        return Finding("keys", "ok", "Callers need an API key.")
    if settings.loopback:
        return Finding("keys", "ok", "There is none: anybody on this machine may ask, and nobody else.")
    told = f"There is none, and ATTUNE_HOST={settings.host} is open to others: the server will not start."
    return Finding("keys", "error", told, "`attune keys create TENANT`")


async def _embedder(settings: Settings, database: Database) -> Finding:
    try:
        embedder = await asyncio.to_thread(lambda: KindEmbedder(SentenceEmbedder(settings.embedder)))
    except Invalid as error:
        return Finding("embedder", "error", error.message, "Set ATTUNE_EMBEDDER.")
    other = await database.read(embedding.stranger, embedder)
    if other is None:
        return Finding("embedder", "ok", f"{embedder.name} has embedded all that is stored.")
    told = f"{other!r} has embedded what is stored, and {embedder.name!r} would not find it."
    return Finding("embedder", "error", told, "Stop all servers and run `attune reembed`.")


async def _limits(settings: Settings, database: Database) -> Finding:
    demand = Demand("attune-doctor", "attune-doctor", Limit(requests_per_minute=1), requests=0)
    started = time.monotonic()
    await database.write(limits.take, [demand], "attune-doctor")
    await database.write(limits.drop, demand)
    seconds = time.monotonic() - started
    told = f"They are counted by all servers together; to count takes {500 * seconds:.0f} ms."
    if seconds / 2 > PATIENCE_OF_COUNT / 2:
        advice = f"A count of more than {PATIENCE_OF_COUNT:g} s is not waited for: look at the database."
        return Finding("limits", "warning", told, advice)
    return Finding("limits", "ok", told)


async def _published(url: str, database: Database) -> Finding:
    """Whether the store is the one that this database's versions are in."""
    part, ready = "adapters", await database.read(versions.everybodys_ready)
    looked_at = ready[:: max(1, len(ready) // SAMPLE)][:SAMPLE]
    started = time.monotonic()

    def missing() -> int:
        store = Store(url)
        return sum(store.manifest(opaque_id, version) is None for opaque_id, version in looked_at)

    try:
        async with asyncio.timeout(PATIENCE):
            lost = await asyncio.to_thread(missing)
    except TimeoutError:
        told = f"The store did not show {len(looked_at)} manifests within {PATIENCE:g} s."
        return Finding(
            part, "warning", told, "Users whose adapter is not on the disk yet wait for it: look at the store."
        )
    except AttuneError as error:
        return Finding(part, "error", error.message, "Check ATTUNE_ADAPTER_STORE.")
    if lost:
        told = f"{lost} of {len(looked_at)} versions that serve are not in the store: it is empty, or another one."
        return Finding(
            part, "error", told, "Set ATTUNE_ADAPTER_STORE to the one they were put into, or `attune restore`."
        )
    told = f"{len(looked_at)} of {len(ready)} versions were looked for in the store, and are there"
    return Finding(part, "ok", f"{told} ({1000 * (time.monotonic() - started):.0f} ms).")


async def _secret(settings: Settings, database: Database) -> list[Finding]:
    file = settings.data_dir / "secret"
    held = await database.read(shared_secret.held)
    if held is None or not file.exists() or not os.access(file, os.R_OK) or file.read_bytes() == held:
        return []
    told = f"{file} is another one than the servers of this database agreed on; theirs is used."
    return [Finding("secret", "warning", told, f"Is ATTUNE_DATABASE_URL the right one? If so, remove {file}.")]


def _store(settings: Settings) -> list[Finding]:
    part, url = "adapter store", settings.adapter_store
    if url is None:
        if len(settings.engine_urls) > 1:
            told = "There is none: all engines and servers must see one data folder."
            return [Finding(part, "warning", told, "Set ATTUNE_ADAPTER_STORE, or share ATTUNE_DATA_DIR.")]
        return []
    try:
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        probe = f"{str(root).rstrip('/')}/doctor-{uuid.uuid4().hex}"
        files.makedirs(str(root), exist_ok=True)
        files.pipe_file(probe, b"well")
        try:
            read = bytes(files.cat_file(probe))
        finally:
            files.rm_file(probe)
    except Exception as error:  # each driver has its own
        told = f"It cannot be written, read and cleared: {type(error).__name__}: {error}"
        return [Finding(part, "error", told, "Check ATTUNE_ADAPTER_STORE, its driver and its credentials.")]
    if read != b"well":
        return [Finding(part, "error", "It gives back other bytes than were written.", "Do not use it.")]
    return [Finding(part, "ok", "It takes, gives back and clears a file.")]


async def _server(settings: Settings, client: httpx.AsyncClient) -> AsyncIterator[Finding]:
    if settings.port == 0:
        return
    anywhere = settings.host in ("0.0.0.0", "::", "localhost")  # noqa: S104
    host = "127.0.0.1" if anywhere else f"[{settings.host}]" if ":" in settings.host else settings.host
    at = f"http://{host}:{settings.port}"
    try:
        answer = await client.get(f"{at}/ready")
        told = answer.json()
        status, reason = str(told["status"]), str(told.get("reason") or "")
    except httpx.ConnectError:
        yield Finding("server", "ok", f"None runs at {at}; its port is free.")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        advice = "Stop it, or set ATTUNE_PORT."
        yield Finding("server", "error", f"What answers at {at} is no Attune server.", advice)
    else:
        parts = ", ".join(f"{name} {told.get(name)}" for name in ("engine", "store", "worker"))
        state: State = "ok" if status == "ready" else "warning"
        yield Finding("server", state, f"The one at {at} is {status}: {parts}. {reason}".rstrip())


async def _engine(url: str, settings: Settings, client: httpx.AsyncClient) -> list[Finding]:
    part, base = f"engine {url}", url.rstrip("/").removesuffix("/v1")
    key = settings.engine_api_key.get_secret_value() if settings.engine_api_key else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask(path: str, body: dict[str, object] | None = None) -> httpx.Response:
        return await client.request("POST" if body else "GET", base + path, json=body, headers=headers)

    try:
        listed = await ask("/v1/models")
        if listed.status_code in (401, 403):
            return [Finding(part, "error", "It refuses this server's key.", "Set ATTUNE_ENGINE_API_KEY.")]
        names = [str(model["id"]) for model in listed.json()["data"] if not model.get("parent")]
        name = settings.model_name or names[0]
        if name not in names:
            told = f"It serves {', '.join(names)}, not {name}."
            return [Finding(part, "error", told, "Set ATTUNE_SERVED_MODEL_NAME to what it serves.")]
        found = [Finding(part, "ok", f"It serves {name}.")]
        found += await _abilities(part, name, ask)
        if date := listed.headers.get("date"):
            found.append(_clock(f"clock of {part}", parsedate_to_datetime(date).timestamp() - time.time()))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"It does not answer as vLLM does: {type(error).__name__}."
        return [Finding(part, "error", told, "Check ATTUNE_ENGINE_URL, and that it has started.")]
    return found


async def _abilities(
    part: str, name: str, ask: Callable[[str, dict[str, object] | None], Awaitable[httpx.Response]]
) -> list[Finding]:
    found = []
    loading = await ask("/v1/load_lora_adapter", dict(_NO_ADAPTER))
    if _is_route(loading):
        found.append(Finding(part, "ok", "It loads adapters while it runs."))
    else:
        advice = "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 (docs/operations.md)."
        found.append(Finding(part, "warning", "It loads no adapters while it runs: none will serve.", advice))
    counting = await ask("/tokenize", {"model": name, "prompt": "a"})
    if counting.status_code == 200:
        found.append(Finding(part, "ok", "It tokenizes: what is learned is judged by likelihood."))
    else:
        advice = "Let /tokenize through, if a router stands before it."
        found.append(Finding(part, "warning", "It does not tokenize: judging takes answers instead.", advice))
    return found


def _is_route(answer: httpx.Response) -> bool:
    """Whether the path is known: vLLM refuses an adapter that is not there in an envelope of its own."""
    if answer.status_code == 200:
        return True
    try:
        return "error" in answer.json() or "object" in answer.json()
    except ValueError:
        return False


async def _behind(settings: Settings) -> list[Finding]:
    """The engines behind a router, one by one."""
    part, key = "engines behind the router", settings.engine_api_key
    try:
        router = Router(
            settings.engine_urls[0],
            endpoints=Endpoints(settings.engine_endpoints or ""),
            secret=b"",
            base_model=settings.model_name,
            api_key=key.get_secret_value() if key else None,
        )
    except (StartRefused, IndexError) as error:
        return [Finding(part, "error", str(error), "Set ATTUNE_ENGINE_ENDPOINTS.")]
    try:
        wrong = await router.strangers(await BaseHash(settings)())
        await router.loaded()
    except AttuneError as error:
        told = f"{error.message} Erasures are not over while one is away."
        return [Finding(part, "warning", told, "Check ATTUNE_ENGINE_ENDPOINTS.")]
    finally:
        await router.close()
    if wrong:
        return [Finding(part, "error", f"The engine {told}.", "docs/scale.md, Router mode") for told in wrong]
    return [Finding(part, "ok", "All that are listed answer, and bring adapters by themselves.")]


def _alike(each: list[list[Finding]]) -> list[Finding]:
    serving = {one.said for found in each for one in found if one.said.startswith("It serves")}
    if len(serving) < 2:
        return []
    advice = "Let all of ATTUNE_ENGINE_URL serve the same model by the same name."
    return [Finding("engines", "error", "They serve different models.", advice)]


def _own_engine(settings: Settings) -> list[Finding]:
    part, folder = "engine", settings.model_folder
    if folder is not None and not folder.is_dir():
        return [Finding(part, "error", f"There is no model in {folder}.", "Set ATTUNE_MODEL to a model's folder.")]
    found = []
    gpu = shutil.which("nvidia-smi") is not None
    if gpu and on_cpu():
        found.append(Finding(part, "warning", "There is a GPU, and vLLM's build for CPUs.", "make setup VARIANT=gpu"))
    if folder is not None and on_cpu() and not settings.bundled:
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        needed = weights * (2 if in_float32(settings) else 1) + (settings.kv_cache_gib << 30)
        told = f"{settings.model_name} takes some {needed / 2**30:.1f} of {memory / 2**30:.0f} GiB, on {cores()} cores."
        short = needed > 0.7 * memory
        advice = "Take a smaller model: `attune models list`." if short else ""
        found.append(Finding(part, "warning" if short else "ok", told, advice))
    return found or [Finding(part, "ok", f"{settings.model_name} is served by a vLLM of its own.")]


async def _learner(settings: Settings, client: httpx.AsyncClient) -> AsyncIterator[Finding]:
    if settings.learner_url is None:
        return
    part, base = "learner", settings.learner_url.rstrip("/").removesuffix("/v1")
    key = settings.learner_api_key.get_secret_value() if settings.learner_api_key else None
    try:
        answer = await client.get(f"{base}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})
        answer.raise_for_status()
        names = [str(model["id"]) for model in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        told = f"It does not list its models: {type(error).__name__}. Edits wait while it is away."
        yield Finding(part, "warning", told, "Check ATTUNE_LEARNER_URL and ATTUNE_LEARNER_API_KEY.")
        return
    if settings.learner_model in names:
        yield Finding(part, "ok", f"It has {settings.learner_model}.")
    else:
        told = f"It has {', '.join(names[:5]) or 'no model'}, not {settings.learner_model}."
        yield Finding(part, "error", told, "Set ATTUNE_LEARNER_MODEL.")


def _clock(part: str, difference: float) -> Finding:
    told = f"It is {abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} this machine's."
    if abs(difference) <= CLOCKS:
        return Finding(part, "ok", told)
    return Finding(part, "error", told, "Let NTP set the clocks: leases and tokens end by them.")
