"""`make bench-scale`: two engines behind vllm-router, two servers on one PostgreSQL, users on adapters, and kills.

Every answer is compared with what its version says alone in an engine, while engines and servers are killed. A request
may fail that was under way at a server that was killed, or was being streamed by an engine that was; nothing else may.
docs/scale.md says what each figure is.
"""

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
import uvloop
from rich.console import Console

from adapters.directories import Directories
from adapters.store import Store
from bench import machine, servers
from bench.arms import Arm, Refused
from bench.crash.__main__ import database_url
from bench.fleet import WRITERS, Fleet, Kept, Tally, load, write_edits
from bench.guests import House
from bench.measure import Caller, Failures
from bench.servers import Server
from preference.database import Database

app = typer.Typer(add_completion=False)
BUDGET = 20_000
"""Tokens a day that two servers may spend together, of a key."""


@dataclass(frozen=True)
class Plan:
    """How much is done. ``kills`` of engines, and as many of servers."""

    users: int = 64
    clients: int = 12
    kills: int = 20
    tokens: int = 32
    seconds: float = 20  # of the measurements without kills


QUICK = Plan(users=8, clients=4, kills=2, tokens=16, seconds=5)


async def measure(plan: Plan, console: Console) -> dict[str, Any]:
    """Everything; what was found."""
    found: dict[str, Any] = dict(machine.about())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-scale-")))
        console.print("the router's own time, and a second engine's gain, before mock engines")
        found |= await mocked(folder, plan.seconds)
        url = stack.enter_context(database_url("postgresql", folder)).replace("postgresql://", "postgresql+psycopg://")
        async with AsyncExitStack() as running:
            fleet = Fleet(folder, url)
            running.push_async_callback(fleet.close)
            console.print("two engines, a router, two servers")
            await fleet.start_engines()
            database = Database(url)
            stack.callback(database.close)
            await asyncio.to_thread(database.migrate)
            home = folder / "home"
            home.mkdir()
            house = House(fleet.engines[0].at, database, Directories(home, Store(fleet.store)), plan.tokens)
            guests = await house.invite([1] * plan.users, lambda: None)
            await fleet.start_servers()
            found |= await kills(fleet, guests, plan, console.print)
            console.print_json(json.dumps(found))
            found["overspent"] = await overspent(fleet)
            console.print("erasing everybody")
            writers = [f"writer-{number}" for number in range(WRITERS)]
            found["weights_left"] = await fleet.erase([guest.user for guest in guests] + writers)
    return found


async def kills(fleet: Fleet, guests: Any, plan: Plan, told: Callable[[str], None]) -> dict[str, Any]:
    """Kill one engine after the other, and one server after the other, while everybody asks and edits."""
    tally, kept, stop = Tally(), Kept(), asyncio.Event()
    working = [asyncio.create_task(load(fleet, guests, tally, stop, plan.tokens, n)) for n in range(plan.clients)]
    working.append(asyncio.create_task(write_edits(fleet, kept, stop)))

    async def kill(processes: Any, rng: random.Random) -> int:
        for number in range(plan.kills):
            await asyncio.sleep(rng.uniform(2, 5))
            one = processes[number % 2]
            await one.kill()
            await one.start()
            told(f"{one.kind} {number + 1} of {plan.kills} killed; {tally.requests} answers, {tally.failed} failed")
        return plan.kills

    try:
        async with asyncio.TaskGroup() as group:
            engines = group.create_task(kill(fleet.engines, random.Random(1)))
            killed = group.create_task(kill(fleet.servers, random.Random(2)))
        await asyncio.sleep(2)
    finally:
        stop.set()
        await asyncio.gather(*working)
    lost, doubled = await fleet.settle(kept)
    return {
        "requests": tally.requests, "leaks": tally.leaks, "failed": tally.failed, "cut": tally.cut,
        "by_adapter": tally.by_adapter, "first_leak": tally.first_leak, "first_failure": tally.first_failure,
        "engine_kills": engines.result(), "server_kills": killed.result(),
        "edits": len(kept.ids), "jobs_lost": lost, "versions_doubled": doubled,
    }  # fmt: skip


async def overspent(fleet: Fleet) -> int | None:
    """Tokens beyond a key's budget that two servers gave together; None where keys have no budget in tokens."""
    try:
        key = await fleet.key("--tokens-per-day", str(BUDGET))
    except servers.NotStarted:
        return None
    spent = 0

    async def spend(server: Server) -> None:
        nonlocal spent
        headers = {"Authorization": f"Bearer {key}", "X-User-Id": "spender"}
        body = {"model": servers.MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "Write a poem."}]}
        async with aiohttp.ClientSession(server.url, headers=headers) as session:
            while True:
                async with session.post("/v1/chat/completions", json=body) as answer:
                    told = await answer.json()
                if answer.status != 200:
                    return
                spent += told["usage"]["total_tokens"]

    await asyncio.gather(*(spend(one.at) for one in fleet.servers for _ in range(8)))
    return max(0, spent - BUDGET)


async def mocked(folder: Path, seconds: float) -> dict[str, float]:
    """What a router adds to an answer, and how much more two engines behind it give than one."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(servers.mock_engine(folder)) for _ in range(2)]
        router = await stack.enter_async_context(servers.vllm_router(folder, engines[:1]))
        direct, routed = [await median_ms(server, seconds) for server in (engines[0], router)]
        rates = []
        for count in (1, 2):
            for engine in engines[:count]:
                await servers.set_pace(engine, 5, slots=4)
            before = await stack.enter_async_context(servers.vllm_router(folder, engines[:count]))
            rates.append(await rate(before, seconds))
    return {"router_overhead_ms_p50": routed - direct, "throughput_2_over_1": rates[1] / rates[0]}


async def median_ms(server: Server, seconds: float) -> float:
    """Of one client's answers of one token."""
    caller = Caller(Arm("bare", server), failures := Failures(), stream=False, tokens=1)
    times, deadline = [], time.monotonic() + seconds / 2
    while time.monotonic() < deadline:
        if (answer := await caller.ask()) is not None:
            times.append(answer.whole / 1e6)
    caller.close()
    if failures.count.total():
        raise Refused(f"{server.name} failed: {failures.reasons}")
    return sorted(times)[len(times) // 2]


async def rate(server: Server, seconds: float) -> float:
    """Answers a second of many clients, each a session of its own."""
    deadline, answers = time.monotonic() + seconds, 0
    body = {"model": servers.MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "a"}]}

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal answers
        while time.monotonic() < deadline:
            headers = {"X-Session-ID": f"session-{number}"}
            async with session.post("/v1/chat/completions", json=body, headers=headers) as answer:
                answers += answer.status == 200

    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session, number) for number in range(48)))
    return answers / seconds


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="A rough run of some minutes.")] = False,
    kill: Annotated[int | None, typer.Option("--kills", help="Of engines, and of servers.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything there.")] = None,
) -> None:
    """Measure; ends with 1 where something leaked, failed, was lost, doubled, overspent or left."""
    console = Console()
    base = QUICK if quick else Plan()
    plan = base if kill is None else Plan(base.users, base.clients, kill, base.tokens, base.seconds)
    found = uvloop.run(measure(plan, console))
    console.print_json(json.dumps(found))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(found, indent=1))
    wrong = ("leaks", "failed", "jobs_lost", "versions_doubled", "overspent", "weights_left")
    if any(found[name] for name in wrong):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
