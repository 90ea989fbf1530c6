"""What `make bench-scale` kills: two vLLMs behind vllm-router and two Attunes on one database; and who asks them."""

import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench import servers
from bench.guests import Guest, prompts
from bench.servers import ROOT, Server

READ_TIMEOUT = 60
_SETTLE = 300.0
WRITERS = 4
_USER = re.compile(r"[0-9a-f]{32}")
_GONE = (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError)


class Process:
    """One server of a fleet, again and again on one port; when it was killed."""

    kind = ""

    def __init__(self) -> None:
        self.port = servers.free_port()
        self.killed: list[float] = []
        self._stack = AsyncExitStack()
        self._at: Server | None = None

    @property
    def at(self) -> Server:
        """Where it is."""
        assert self._at is not None
        return self._at

    async def start(self) -> None:
        """Until it answers."""
        self._stack = AsyncExitStack()
        self._at = await self._stack.enter_async_context(self._run())

    async def kill(self) -> None:
        """SIGKILL, its children included."""
        self.killed.append(time.monotonic())
        os.killpg(self.at.pid, signal.SIGKILL)
        await self._stack.aclose()

    async def close(self) -> None:
        """In order."""
        await self._stack.aclose()

    def died(self, since: float) -> bool:
        """Whether it was killed after that moment."""
        return any(at >= since - 0.5 for at in self.killed)

    def _run(self) -> Any:
        raise NotImplementedError


class Engine(Process):
    """A vLLM with our plugin."""

    kind = "engine"

    def __init__(self, fleet: "Fleet") -> None:
        super().__init__()
        self._fleet = fleet

    async def start(self) -> None:
        """Until the router sends it requests again, where there is one."""
        await super().start()
        if self._fleet.router is not None:
            await self._fleet.known_to_router(self.at.url)

    def _run(self) -> Any:
        fleet = self._fleet
        return servers.vllm(
            fleet.folder, port=self.port, max_loras=8, max_cpu_loras=24,
            adapter_store=fleet.store, adapter_cache_dir=str(fleet.folder / "caches"),
        )  # fmt: skip


class Replica(Process):
    """A server of ours."""

    kind = "server"

    def __init__(self, fleet: "Fleet", number: int) -> None:
        super().__init__()
        self._fleet = fleet
        self._folder = fleet.folder / f"server-{number}"

    def _run(self) -> Any:
        self._folder.mkdir(exist_ok=True)
        fleet, router = self._fleet, self._fleet.router
        assert router is not None
        data = self._folder / f"data-{router.name}"
        data.mkdir(exist_ok=True)
        (data / "secret").write_bytes(b"s" * 32)  # the same on all servers
        return servers.attune_again(self._folder, router, self.port, fleet.bench_key, fleet.settings)


class Fleet:
    """All of it, below ``folder``."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.store = f"file://{folder / 'store'}"
        self.engines: list[Process] = [Engine(self), Engine(self)]
        self.servers: list[Process] = [Replica(self, 0), Replica(self, 1)]
        self.bench_key = ""
        self.router: Server | None = None
        self._database = database
        self._stack = AsyncExitStack()

    @property
    def settings(self) -> dict[str, object]:
        """Of every server."""
        return {
            "database_url": self._database, "engine_router": "true", "adapter_store": self.store,
            "engine_endpoints": ",".join(f"http://127.0.0.1:{engine.port}" for engine in self.engines),
            "model": str(ROOT / "lab" / "model"), "served_model_name": servers.MODEL, "adapter_min_edits": 8,
            "engine_read_timeout": READ_TIMEOUT,
        }  # fmt: skip

    async def start_engines(self) -> None:
        """And the router before them."""
        await asyncio.gather(*(engine.start() for engine in self.engines))
        router = servers.vllm_router(self.folder, [engine.at for engine in self.engines])
        self.router = await self._stack.enter_async_context(router)

    async def known_to_router(self, engine: str) -> None:
        """Wait until the router says that an engine is well."""
        assert self.router is not None
        async with aiohttp.ClientSession(self.router.url) as session, asyncio.timeout(60):
            while True:
                async with session.get("/workers") as told:
                    workers = (await told.json())["workers"]
                if any(one["url"] == engine and one["is_healthy"] for one in workers):
                    return
                await asyncio.sleep(0.2)

    async def start_servers(self) -> None:
        """One after the other: the first makes a key."""
        self.bench_key = await self.key()
        for server in self.servers:
            await server.start()

    async def key(self, *arguments: str) -> str:
        """A new key. Raises ``NotStarted`` where the command refuses."""
        environment = {f"ATTUNE_{name.upper()}": str(value) for name, value in self.settings.items()}
        assert self.router is not None
        environment |= {"ATTUNE_ENGINE_URL": self.router.url, "ATTUNE_DATA_DIR": str(self.folder / "keys")}
        command = [sys.executable, "-m", "server", "keys", "create", "bench", "--json", *arguments]
        return await asyncio.to_thread(servers.make_key, command, environment)

    async def settle(self, kept: "Kept") -> tuple[int, int]:
        """Wait until everything that was acknowledged is learned: how many never were, and versions published twice.

        Who is slow has lost nothing: it is waited for as long as something is learned now and then.
        """
        deadline, open_ids = time.monotonic() + _SETTLE, dict(kept.ids)
        async with self._session() as session:
            while open_ids and time.monotonic() < deadline:
                for id, user in list(open_ids.items()):
                    async with session.get(f"/v1/feedback/{id}", headers={"X-User-Id": user}) as told:
                        if told.status == 200 and (await told.json())["status"] != "pending":
                            del open_ids[id]
                            deadline = time.monotonic() + _SETTLE
                await asyncio.sleep(0.5)
        folders = [version for version in (self.folder / "store").glob("*/v*") if (version / "manifest.json").exists()]
        return len(open_ids), sum(sum(one.is_dir() for one in version.iterdir()) > 1 for version in folders)

    async def erase(self, users: Sequence[str]) -> int:
        """Erase all users there are; how many adapters, or folders of theirs, are left once that is said to be over."""
        async with self._session() as session:
            for user in users:
                async with session.delete(f"/v1/users/{user}") as answer:
                    if answer.status != 404:  # a writer who came to nothing between two kills
                        answer.raise_for_status()
            deadline = time.monotonic() + READ_TIMEOUT + 120 + _SETTLE
            while (left := await self._left(session)) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(2)
        return left

    async def _left(self, session: aiohttp.ClientSession) -> int:
        count = 0
        for engine in self.engines:
            async with session.post(f"{engine.at.url}/collective_rpc", json={"method": "list_loras"}) as told:
                count += len(set(re.findall(r"\d+", str((await told.json())["results"]))))
        places = ("store/*", "caches/*/*", "server-*/data-*/adapters/*")
        users = [path for place in places for path in self.folder.glob(place) if _USER.fullmatch(path.name)]
        return count + len(users)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.servers[0].at.url, headers={"Authorization": f"Bearer {self.bench_key}"})

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(one.close() for one in (*self.servers, *self.engines)))
        await self._stack.aclose()


@dataclass
class Tally:
    """Answers, compared; and what failed: ``cut`` was under way where something was killed, ``failed`` was not."""

    requests: int = 0
    by_adapter: int = 0
    leaks: int = 0
    failed: int = 0
    cut: int = 0
    first_leak: str = ""
    first_failure: str = ""


@dataclass
class Kept:
    """Edits that a server acknowledged, by id, with their user."""

    ids: dict[str, str] = field(default_factory=dict)


async def load(
    fleet: Fleet, guests: Sequence[Guest], tally: Tally, stop: asyncio.Event, tokens: int, seed: int
) -> None:
    """Ask as one guest after another, streamed and not, at one server or the other, until told to stop."""
    rng, asked = random.Random(seed), prompts()
    headers = {"Authorization": f"Bearer {fleet.bench_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=READ_TIMEOUT)) as session:
        while not stop.is_set():
            guest, prompt, streamed = rng.choice(guests), rng.randrange(len(asked)), rng.random() < 0.5
            server = rng.choice(fleet.servers)
            body = {
                "model": servers.MODEL, "messages": list(asked[prompt]), "temperature": 0, "max_tokens": tokens,
                "stream": streamed, "attune": {"store": False, "personalize": "adapter"},
            }  # fmt: skip
            url, started = f"http://127.0.0.1:{server.port}/v1/chat/completions", time.monotonic()
            try:
                async with session.post(url, json=body, headers={"X-User-Id": guest.user}) as answer:
                    version, text = told(await answer.read(), answer.status, streamed)
            except aiohttp.ClientConnectorError:  # it is down: a load balancer would not have sent anybody there
                await asyncio.sleep(0.05)
                continue
            except (*_GONE, ValueError, LookupError) as error:
                of_engine = streamed and any(engine.died(started) for engine in fleet.engines)
                if server.died(started) or of_engine:
                    tally.cut += 1
                else:
                    tally.failed += 1
                    tally.first_failure = tally.first_failure or f"{type(error).__name__}: {error}"[:500]
                continue
            tally.requests += 1
            tally.by_adapter += version > 0
            if text != guest.said[version][prompt]:
                tally.leaks += 1
                tally.first_leak = tally.first_leak or f"{guest.user} v{version}, prompt {prompt}: {text[:200]!r}"


def told(body: bytes, status: int, streamed: bool) -> tuple[int, str]:
    """The version that answered, and what it said. Raises ``ValueError`` for anything but a whole answer."""
    if status != 200:
        raise ValueError(f"{status}: {body.decode(errors='replace')[:300]}")
    if not streamed:
        whole = json.loads(body)
        return whole["attune"]["adapter_version"], whole["choices"][0]["message"]["content"] or ""
    events = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        raise ValueError(f"a stream without an end: {events[-1:]}")
    parts = [json.loads(event) for event in events[:-1]]
    if error := next((part["error"] for part in parts if "error" in part), None):
        raise ValueError(f"a stream with an error: {error}")
    said = "".join(choice["delta"].get("content") or "" for part in parts for choice in part.get("choices", ()))
    return next(part["attune"]["adapter_version"] for part in parts if "attune" in part), said


async def write_edits(fleet: Fleet, kept: Kept, stop: asyncio.Event) -> None:
    """Some users ask and edit without a pause; what is acknowledged must be learned from, whoever is killed."""
    headers = {"Authorization": f"Bearer {fleet.bench_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=READ_TIMEOUT)) as session:
        number = 0
        while not stop.is_set():
            number += 1
            user, server = f"writer-{number % WRITERS}", fleet.servers[number % 2]
            base, whose = f"http://127.0.0.1:{server.port}", {"X-User-Id": user}
            asked = {"role": "user", "content": f"Write an email to Ann, my client. Number {number}."}
            body = {"model": servers.MODEL, "messages": [asked], "max_tokens": 24, "temperature": 0}
            try:
                async with session.post(f"{base}/v1/chat/completions", json=body, headers=whose) as answer:
                    answer.raise_for_status()
                    made = await answer.json()
                edited = "Dear Ann, " + made["choices"][0]["message"]["content"]
                edit = {"type": "edit", "completion_id": made["id"], "edited_text": edited}
                async with session.post(f"{base}/v1/feedback", json=edit, headers=whose) as accepted:
                    accepted.raise_for_status()
                    kept.ids[(await accepted.json())["id"]] = user
            except (*_GONE, LookupError, ValueError):
                await asyncio.sleep(0.1)
