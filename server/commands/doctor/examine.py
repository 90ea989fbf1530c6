"""`attune doctor`: looks at a deployment, each part by itself, and says what is wrong and what to do.

It changes nothing: the database is not migrated, nothing is loaded into an engine, and what it writes to a store to see
whether it can is removed. It needs no server that runs, and harms none that does.
"""

import asyncio
import os
import shutil

import httpx

from server.commands.doctor.engines import (
    alike,
    behind_router,
    engine_findings,
    learner_findings,
    own_engine,
    server_findings,
)
from server.commands.doctor.finding import PATIENCE, Finding
from server.commands.doctor.storage import database_findings, store_findings
from server.errors import StartRefused
from server.settings import Settings

FREE = 2 << 30
"""Bytes that a data folder should have free: a database grows, and an adapter is staged before it is published."""


async def examine(settings: Settings) -> list[Finding]:
    """Everything, the cheap parts first. A part that cannot be looked at is a finding, never an exception."""
    found = [*_settings(settings), *_disk(settings)]
    found += [one async for one in database_findings(settings)]
    found += await asyncio.to_thread(store_findings, settings)
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        found += [one async for one in server_findings(settings, client)]
        if settings.engine_urls:
            each = await asyncio.gather(*(engine_findings(url, settings, client) for url in settings.engine_urls))
            found += [*(one for findings in each for one in findings), *alike(each)]
            if settings.engine_router:
                found += await behind_router(settings)
        else:
            found += own_engine(settings)
        found += [one async for one in learner_findings(settings, client)]
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
