"""What `make bench-scale` kills: two vLLMs behind vllm-router, and two Attunes on one database."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from bench import servers
from bench.servers import BUNDLED, MODEL, Server
from lab.child import free_port

READ_TIMEOUT = 60
_SETTLE = 300.0
_USER = re.compile(r"[0-9a-f]{32}")


class Process:
    """One server of a fleet, again and again on one port; when it was killed."""

    def __init__(self, kind: str, port: int, run: Callable[[], AbstractAsyncContextManager[Server]]) -> None:
        self.kind = kind
        self.port = port
        self._run = run
        self._killed: list[float] = []
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
        self._killed.append(time.monotonic())
        os.killpg(self.at.pid, signal.SIGKILL)
        await self._stack.aclose()

    async def close(self) -> None:
        """In order."""
        await self._stack.aclose()

    def died(self, since: float) -> bool:
        """Whether it was killed after that moment."""
        return any(at >= since - 0.5 for at in self._killed)


class Fleet:
    """All of it, below ``folder``. ``key`` opens its servers."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.store = f"file://{folder / 'store'}"
        self.key = ""
        self.router: Server | None = None
        self.engines = [self._engine() for _ in range(2)]
        self.servers = [self._server(folder / f"server-{number}") for number in range(2)]
        self._database = database
        self._stack = AsyncExitStack()

    def _engine(self) -> Process:
        """A vLLM with our plugin."""
        port, caches = free_port(), str(self.folder / "caches")

        def run() -> AbstractAsyncContextManager[Server]:
            return servers.vllm(
                self.folder, port=port, max_loras=8, max_cpu_loras=24,
                adapter_store=self.store, adapter_cache_dir=caches,
            )  # fmt: skip

        return Process("engine", port, run)

    def _server(self, folder: Path) -> Process:
        """A server of ours."""
        port = free_port()

        def run() -> AbstractAsyncContextManager[Server]:
            assert self.router is not None
            data = folder / f"data-{self.router.name}"
            data.mkdir(parents=True, exist_ok=True)
            (data / "secret").write_bytes(b"s" * 32)  # the same on all servers
            return servers.attune(folder, self.router, port=port, key=self.key, **self.settings)

        return Process("server", port, run)

    @property
    def settings(self) -> Mapping[str, object]:
        """Of every server."""
        return {
            "database_url": self._database, "engine_router": "true", "adapter_store": self.store,
            "engine_endpoints": ",".join(f"http://127.0.0.1:{engine.port}" for engine in self.engines),
            "model": str(BUNDLED), "served_model_name": MODEL, "adapter_min_edits": 8,
            "engine_read_timeout": READ_TIMEOUT,
        }  # fmt: skip

    async def start_engines(self) -> None:
        """And the router before them."""
        await asyncio.gather(*(engine.start() for engine in self.engines))
        router = servers.vllm_router(self.folder, [engine.at for engine in self.engines])
        self.router = await self._stack.enter_async_context(router)

    async def start_servers(self) -> None:
        """One after the other, with a key that is made before."""
        self.key = await self.new_key()
        for server in self.servers:
            await server.start()

    async def start_again(self, process: Process) -> None:
        """One that was killed; an engine until the router sends it requests again."""
        await process.start()
        if process not in self.engines:
            return
        assert self.router is not None
        async with self.router.session() as session, asyncio.timeout(60):
            while True:
                workers = (await servers.call(session, "GET", "/workers"))["workers"]
                if any(one["url"] == process.at.url and one["is_healthy"] for one in workers):
                    return
                await asyncio.sleep(0.2)

    async def new_key(self, *arguments: str) -> str:
        """A new key. Raises ``ServerFailed`` where the command refuses."""
        assert self.router is not None
        place = {"engine_url": self.router.url, "data_dir": self.folder / "keys"}
        return await servers.make_key({**self.settings, **place}, *arguments)

    async def settle(self, edits: Mapping[str, str]) -> tuple[int, int]:
        """Wait until edits, by id with their user, are learned: how many never were, and versions published twice.

        Who is slow has lost nothing: it is waited for as long as something is learned now and then.
        """
        deadline, pending = time.monotonic() + _SETTLE, dict(edits)
        async with self.servers[0].at.session() as session:
            while pending and time.monotonic() < deadline:
                for id, user in list(pending.items()):
                    async with session.get(f"/v1/feedback/{id}", headers={"X-User-Id": user}) as told:
                        if told.status == 200 and (await told.json())["status"] != "pending":
                            del pending[id]
                            deadline = time.monotonic() + _SETTLE
                await asyncio.sleep(0.5)
        folders = [version for version in (self.folder / "store").glob("*/v*") if (version / "manifest.json").exists()]
        return len(pending), sum(sum(one.is_dir() for one in version.iterdir()) > 1 for version in folders)

    async def erase(self, users: Sequence[str]) -> int:
        """Erase all users there are; how many adapters, or folders of theirs, are left once that is said to be over."""
        async with self.servers[0].at.session() as session:
            for user in users:
                async with session.delete(f"/v1/users/{user}") as answer:
                    if answer.status != 404:  # a writer who came to nothing between two kills
                        answer.raise_for_status()
        deadline = time.monotonic() + READ_TIMEOUT + 120 + _SETTLE
        while (left := await self._left()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(2)
        return left

    async def _left(self) -> int:
        weights = [await servers.loras_in_workers(engine.at) for engine in self.engines]
        places = ("store/*", "caches/*/*", "server-*/data-*/adapters/*")
        users = [path for place in places for path in self.folder.glob(place) if _USER.fullmatch(path.name)]
        return sum(weights) + len(users)

    async def close(self) -> None:
        """End everything."""
        await asyncio.gather(*(one.close() for one in (*self.servers, *self.engines)))
        await self._stack.aclose()
