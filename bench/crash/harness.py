"""Lives of a server, each ended by SIGKILL at a random moment, and a comparison after each."""

import asyncio
import contextlib
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import make_url

from adapters.recipe import LINEAR_LAYERS
from bench.crash.clients import Clients
from bench.crash.engine import MODEL, ScriptedEngine
from bench.crash.ledger import TENANT, Ledger
from bench.crash.server import Server
from bench.crash.trainer import write_tensors
from bench.servers import BUNDLED
from lab.child import free_port
from store import tables
from store.database import Database

PROMPT = BUNDLED / "learner.toml"
"""The layout in which the engine is asked what an edit shows: the bundled model's."""
PERSONS = 6
MIN_EDITS = 8
LEARN_SECONDS = 300
STOP_SHARE = 1 / 12
"""How many lives end in SIGTERM instead, after which nothing may be left running."""
_APPLICATION = "attune-under-test"
_SIZE = 4  # of the base model's matrices


class Aim(NamedTuple):
    """When to kill: up to ``spread`` seconds after ``event``, which is waited for ``patience`` seconds at most."""

    event: str | None
    patience: float
    spread: float


AIMS = {
    "any moment": Aim(None, 0.0, 0.7),
    "start": Aim("started", 0.0, 0.25),
    "after an acknowledgement": Aim("accepted", 0.6, 0.003),
    "while learning": Aim("learning", 0.6, 0.03),
    "while training": Aim("training", 0.9, 0.03),
    "while publishing": Aim("publishing", 0.9, 0.006),
    "while activating": Aim("activating", 0.9, 0.01),
}


@dataclass
class Outcome:
    """What a run on one store did and found. ``clean`` is what it has to be."""

    store: str
    seed: int
    kills: int = 0
    stops: int = 0
    lost: int = 0
    doubled: int = 0
    half_published: int = 0
    unexpected: int = 0
    pending_at_the_end: int = 0
    left_in_staging: int = 0
    aims: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    edits_never_acknowledged: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    jobs_taken_over: int = 0
    directories_left_before_the_commit: int = 0
    start_ms: float = 0.0
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, half published, unexpected or left over."""
        faults = (self.lost, self.doubled, self.half_published, self.unexpected)
        return not any((*faults, self.pending_at_the_end, self.left_in_staging))


class Harness:
    """A server on the empty store at ``url``, with everything else below ``folder``."""

    def __init__(self, url: str, folder: Path, *, seed: int = 0) -> None:
        self._url = make_url(url)
        self._folder = folder
        self._rng = random.Random(seed)
        self._happened = {aim.event: asyncio.Event() for aim in AIMS.values() if aim.event}
        self._starts: list[float] = []
        self.outcome = Outcome(self._url.get_backend_name(), seed)

    async def run(self, kills: int, told: Callable[[int], None] = lambda _: None) -> Outcome:
        """Kill so often, then let everything be learned, and compare once more. ``told`` hears of kills."""
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            engine = ScriptedEngine(self._tell, self.outcome.seed)
            await engine.start()
            stack.push_async_callback(engine.stop)
            server = Server(self._settings(engine.url), self._folder / "server.log")
            stack.push_async_callback(server.end)
            database = Database(self._url.render_as_string(hide_password=False))
            stack.callback(database.close)
            await asyncio.to_thread(database.migrate)
            ledger = Ledger(database, (self._folder / "data" / "adapters").resolve())
            clients = Clients(server.url, engine, ledger.faults, count=PERSONS, rng=self._rng)
            clients.on_accepted = lambda: self._tell("accepted")
            aims: Counter[str] = Counter()
            while self.outcome.kills < kills:
                before = self.outcome.kills
                aims[await self._live(server, clients, database, ledger)] += 1
                await asyncio.to_thread(ledger.check, clients.persons)
                self._note(ledger, engine, clients)
                told(self.outcome.kills - before)
            await self._finish(server, database, ledger, clients)
            self._note(ledger, engine, clients)
            await database.read(self._count, clients)
            self.outcome.aims = dict(aims.most_common())
        staging = self._folder / "data" / "adapters" / ".staging"
        self.outcome.left_in_staging = len(list(staging.glob("*")))
        self.outcome.start_ms = round(1000 * statistics.median(self._starts), 1)
        self.outcome.seconds = round(time.monotonic() - began, 1)
        return self.outcome

    async def _live(self, server: Server, clients: Clients, database: Database, ledger: Ledger) -> str:
        """One life of the server; says how it ended."""
        stops = self._rng.random() < STOP_SHARE
        name = "any moment" if stops else self._rng.choice(list(AIMS))
        aim = AIMS[name]
        before, clients.waiting = await database.read(_running), await database.read(_open_jobs)
        server.start()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            if aim.event == "started":
                await asyncio.sleep(self._rng.uniform(0, aim.spread))
                await server.end()
            else:
                began = time.monotonic()
                await server.ready(session)
                self._starts.append(time.monotonic() - began)
                working = asyncio.create_task(clients.work(session))
                await self._aim(aim)
                code = await server.end(signal.SIGTERM if stops else signal.SIGKILL)
                await working
                if stops and code != 0:
                    ledger.faults.add("unexpected", f"SIGTERM ended in status {code}")
        await self._settle(database)
        if stops and (left := await database.read(_running, at=time.time()) - before):
            ledger.faults.add("unexpected", f"a stopped server gave {len(left)} jobs not back")
        self.outcome.stops += stops
        self.outcome.kills += not stops
        return "SIGTERM" if stops else name

    async def _aim(self, aim: Aim) -> None:
        """Wait for the moment."""
        if aim.event is not None:
            await asyncio.sleep(self._rng.uniform(0, 0.2))
            self._happened[aim.event].clear()
            try:
                async with asyncio.timeout(aim.patience):
                    await self._happened[aim.event].wait()
                    if aim.event == "publishing":
                        await self._publication()
            except TimeoutError:
                pass
        await asyncio.sleep(self._rng.uniform(0, aim.spread))

    async def _publication(self) -> None:
        """Wait until an adapter that passed the gate is on its way to its place."""
        root = self._folder / "data" / "adapters"
        before = set(root.glob("*/v*"))

        def begun() -> bool:
            return any(root.glob(".staging/*/adapter/manifest.json")) or not set(root.glob("*/v*")) <= before

        while not begun():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0)

    async def _settle(self, database: Database) -> None:
        """Wait until PostgreSQL has noticed that its client is gone: a last COMMIT may still be under way."""
        if self.outcome.store == "postgresql":
            await _none(database, _connected, 0.002)

    async def _finish(self, server: Server, database: Database, ledger: Ledger, clients: Clients) -> None:
        """The last life: everything is learned, whoever has edits enough is trained, then it is told to stop."""
        server.start()
        began = time.monotonic()
        async with aiohttp.ClientSession() as session:
            await server.ready(session)
            self._starts.append(time.monotonic() - began)
            # However little a slow machine got done between the kills, one user can be trained.
            await clients.edit_until(session, 2 * MIN_EDITS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEARN_SECONDS):
                    await _none(database, _open_jobs, 0.05)
                    await clients.train_everybody(session)
                    await _none(database, _open_jobs, 0.05)
            if code := await server.end(signal.SIGTERM):
                ledger.faults.add("unexpected", f"SIGTERM ended in status {code}")
        await self._settle(database)
        self.outcome.pending_at_the_end = await asyncio.to_thread(ledger.check, clients.everybody, final=True)

    def _tell(self, event: str) -> None:
        self._happened[event].set()

    def _note(self, ledger: Ledger, engine: ScriptedEngine, clients: Clients) -> None:
        """The counts so far."""
        while engine.faults:
            ledger.faults.add("half_published", engine.faults.pop())
        counts = ledger.faults.counts
        self.outcome.lost, self.outcome.doubled = counts["lost"], counts["doubled"]
        self.outcome.half_published, self.outcome.unexpected = counts["half_published"], counts["unexpected"]
        self.outcome.examples = ledger.faults.examples
        self.outcome.acknowledged = dict(clients.done)
        self.outcome.directories_left_before_the_commit = ledger.stranded

    def _count(self, c: Connection, clients: Clients) -> None:
        """What became of everything, from the rows."""
        for table, column, counts in (
            (tables.feedback, tables.feedback.c.status, self.outcome.feedback),
            (tables.adapters, tables.adapters.c.state, self.outcome.versions),
        ):
            query = select(column, func.count()).where(table.c.tenant_id == TENANT).group_by(column)
            counts.update({key: count for key, count in c.execute(query)})
        again = select(func.count()).select_from(tables.jobs).where(tables.jobs.c.fence > 1)
        self.outcome.jobs_taken_over = c.execute(again).scalar_one()
        stored = set(c.execute(select(tables.feedback.c.edited_text)).scalars())
        never = [edit for person in clients.everybody for edit in person.edits if edit.id is None]
        kept = sum(edit.body["edited_text"] in stored for edit in never)
        self.outcome.edits_never_acknowledged = {"stored": kept, "not stored": len(never) - kept}

    def _settings(self, engine_url: str) -> dict[str, Any]:
        base = self._folder / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        layers = {f"model.layers.0.{layer}.weight": (_SIZE, _SIZE) for layer in LINEAR_LAYERS}
        write_tensors(base / "model.safetensors", layers)
        url = self._url
        if url.get_backend_name() == "postgresql":
            url = url.update_query_dict({"application_name": _APPLICATION})
        return {
            "port": free_port(),
            "data_dir": self._folder / "data",
            "database_url": url.render_as_string(hide_password=False),
            "engine_url": engine_url,
            "model": str(base),
            "served_model_name": MODEL,
            "learner_prompt": PROMPT,
            "adapter_min_edits": MIN_EDITS,
            "adapter_rank": 2,
            "drain_seconds": 1,
            "log_level": "warning",
        }


async def _none(database: Database, count: Callable[[Connection], int], pause: float) -> None:
    """Wait until ``count`` gives 0."""
    while await database.read(count):  # noqa: ASYNC110 - what changes the rows is another process
        await asyncio.sleep(pause)


def _running(c: Connection, at: float = 0.0) -> set[tuple[str, int]]:
    """Jobs that somebody held at that time: who was too slow to renew a lease has nothing to give back."""
    held = (tables.jobs.c.state == "running") & (tables.jobs.c.lease_until > at)
    query = select(tables.jobs.c.id, tables.jobs.c.fence).where(held)
    return {(id, fence) for id, fence in c.execute(query)}


def _open_jobs(c: Connection) -> int:
    query = select(func.count()).select_from(tables.jobs).where(tables.jobs.c.state.in_(("queued", "running")))
    return int(c.execute(query).scalar_one())


def _connected(c: Connection) -> int:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    return int(c.execute(query, {"name": _APPLICATION}).scalar_one())
