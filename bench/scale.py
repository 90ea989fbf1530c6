"""`make bench-scale`: two engines behind vllm-router, two servers on one PostgreSQL, users on adapters, and kills.

Every answer is compared with what its version says alone in an engine, while engines and servers are killed. A request
may fail that was under way at a server that was killed, or was being streamed by an engine that was; nothing else may.
docs/scale.md says what each figure is.
"""

import asyncio
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from adapters.artifacts.directories import Directories
from adapters.artifacts.object_store import ObjectStore
from bench import killing, machine, servers
from bench.adapter_users import AdapterUser, Publisher
from bench.arms import Arm, user_says
from bench.database import database_url
from bench.fleet import Fleet, Process
from bench.killing import WRITERS, Outcome
from bench.load import Caller, Failures, Figures, load
from bench.servers import Server
from lab import report
from lab.child import ServerFailed
from store.database import Database

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
            directories = Directories(home, ObjectStore(fleet.store))
            publisher = Publisher(fleet.engines[0].at, database, directories, plan.tokens)
            users = await publisher.publish([1] * plan.users, lambda: None)
            await fleet.start_servers()
            found |= await kills(fleet, users, plan, console.print)
            found["overspent"] = await overspent(fleet)
            console.print("erasing everybody")
            writers = [f"writer-{number}" for number in range(WRITERS)]
            found["weights_left"] = await fleet.erase([user.name for user in users] + writers)
    return found


async def kills(fleet: Fleet, users: Sequence[AdapterUser], plan: Plan, told: Callable[[str], None]) -> dict[str, Any]:
    """Kill one engine after the other, and one server after the other, while everybody asks and edits."""
    outcome, stop = Outcome(), asyncio.Event()
    tally = outcome.tally
    working = [
        asyncio.create_task(killing.ask(fleet, users, outcome, stop, plan.tokens, n)) for n in range(plan.clients)
    ]
    working.append(asyncio.create_task(killing.write(fleet, outcome, stop)))

    async def kill(processes: Sequence[Process], rng: random.Random) -> int:
        for number in range(plan.kills):
            await asyncio.sleep(rng.uniform(2, 5))
            one = processes[number % 2]
            await one.kill()
            await fleet.start_again(one)
            answers = tally.answers.total()
            told(f"{one.kind} {number + 1} of {plan.kills} killed; {answers} answers, {outcome.failed} failed")
        return plan.kills

    try:
        async with asyncio.TaskGroup() as group:
            engines = group.create_task(kill(fleet.engines, random.Random(1)))
            killed = group.create_task(kill(fleet.servers, random.Random(2)))
        await asyncio.sleep(2)
    finally:
        stop.set()
        await asyncio.gather(*working)
    lost, doubled = await fleet.settle(outcome.edits)
    return {
        "requests": tally.answers.total(), "leaks": tally.leaks, "failed": outcome.failed, "cut": outcome.cut,
        "by_adapter": tally.answers.total() - tally.answers[0], "first_leak": tally.first,
        "first_failure": outcome.first_failure,
        "engine_kills": engines.result(), "server_kills": killed.result(),
        "edits": len(outcome.edits), "jobs_lost": lost, "versions_doubled": doubled,
    }  # fmt: skip


async def overspent(fleet: Fleet) -> int:
    """Tokens beyond a key's budget that two servers gave together. Raises ``ServerFailed`` unless that ended it."""
    key, spent = await fleet.new_key("--tokens-per-day", str(BUDGET)), 0

    async def spend(server: Server) -> None:
        nonlocal spent
        arm = Arm("spender", replace(server, key=key), user="spender", prompts=(user_says("Write a poem."),))
        caller = Caller(arm, failures := Failures(), stream=False, tokens=200)
        while answer := await caller.ask():
            spent += answer.json()["usage"]["total_tokens"]
        if not (reason := failures.reasons[arm.name]).startswith("429"):
            raise ServerFailed(f"It was no budget that ended it: {reason}")

    await asyncio.gather(*(spend(one.at) for one in fleet.servers for _ in range(8)))
    return max(0, spent - BUDGET)


async def mocked(folder: Path, seconds: float) -> dict[str, float]:
    """What a router adds to an answer, and how much more two engines behind it give than one."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(servers.mock_engine(folder)) for _ in range(2)]
        router = await stack.enter_async_context(servers.vllm_router(folder, engines[:1]))
        direct, routed = [(await _load(server, 1, 1, seconds / 2))["p50_ms"] for server in (engines[0], router)]
        rates = []
        for count in (1, 2):
            for engine in engines[:count]:
                await servers.set_pace(engine, 5, slots=4)
            before = await stack.enter_async_context(servers.vllm_router(folder, engines[:count]))
            rates.append((await _load(before, 48, 16, seconds))["requests_per_second"])
    return {"router_overhead_ms_p50": routed - direct, "throughput_2_over_1": rates[1] / rates[0]}


async def _load(server: Server, clients: int, tokens: int, seconds: float) -> Figures:
    """Of clients that are a session each. Raises ``ServerFailed`` where a request fails."""
    failures = Failures()
    arms = [Arm(server.name, server, headers={"X-Session-ID": f"session-{number}"}) for number in range(clients)]
    figures = await load([Caller(arm, failures, stream=False, tokens=tokens) for arm in arms], seconds)
    if failures.count:
        raise ServerFailed(f"{server.name} failed: {failures.reasons}")
    return figures


def main(
    quick: Annotated[bool, typer.Option(help="A rough run of some minutes.")] = False,
    kill: Annotated[int | None, typer.Option("--kills", help="Of engines, and of servers.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything there.")] = None,
) -> None:
    """Measure; ends with 1 where something leaked, failed, was lost, doubled, overspent or left."""
    console = Console()
    plan = QUICK if quick else Plan()
    found = uvloop.run(measure(plan if kill is None else replace(plan, kills=kill), console))
    console.print_json(data=found)
    if json_file is not None:
        report.write(found, json_file)
    wrong = ("leaks", "failed", "jobs_lost", "versions_doubled", "overspent", "weights_left")
    if any(found[name] for name in wrong):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
