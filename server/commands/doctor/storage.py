"""How the database and the adapter store are."""

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator

import fsspec

from adapters.artifacts.object_store import ObjectStore
from adapters.lifecycle import versions
from preference.recall import embedding
from preference.recall.embedder import SentenceEmbedder
from preference.recall.kind import KindEmbedder
from server.admission.common_count import PATIENCE as PATIENCE_OF_COUNT
from server.commands.doctor.finding import PATIENCE, Finding, State, clock_finding
from server.errors import StartRefused
from server.settings import Settings
from store import keys, limits, shared_secret
from store.database import Database, clock
from store.errors import AttuneError, Invalid
from store.limits import Demand, Limit

SAMPLE = 20
"""Versions that are looked for in the store."""


async def database_findings(settings: Settings) -> AsyncIterator[Finding]:
    """The database, and what it says of keys, embedder, limits, secret and adapters."""
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
            await database.write_health.confirm()
            yield Finding(part, "ok", f"It is up to date and takes writes. {told}")
            yield _keys(settings, known)
            if settings.database.startswith("postgresql"):
                yield clock_finding("database's clock", await database.read(clock) - time.time())
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
        store = ObjectStore(url)
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


def store_findings(settings: Settings) -> list[Finding]:
    """Whether the adapter store takes, gives back and clears a file."""
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
