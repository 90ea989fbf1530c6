"""`make bench-adapters`: many users on adapters of their own, beside the bare engine with the same adapters.

Adapters are random weights that pass our own validation; what the engine says with each of them alone is known
beforehand, and every answer of the run is compared with it. `docs/adapters.md` says what is measured and shows a run.
"""

import json
import re
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from adapters.directories import Directories
from adapters.store import Store
from adapters.train import TrainingJob
from bench import adapters_report, machine, servers, training, training_report
from bench.arms import Refused
from bench.guests import BASE, House
from bench.measure import Failures
from bench.servers import Server
from bench.shapes import BUNDLED
from bench.swaps import OTHERS, Party, Tally
from preference.database import Database

SPARE = 8
"""Places in the engine's memory beside the guests': swaps, and adapters that are heard alone."""
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Plan:
    """How much is measured. ``swapping`` guests have two versions; ``places`` are what they share in a crowd."""

    users: tuple[int, ...] = (64, 256)
    slots: int = 16
    swapping: int = 64
    swaps: int = 200
    tokens: int = 48
    blocks: int = 5
    seconds: float = 12
    stall_blocks: int = 4
    loads: int = 15
    crowded_seconds: float = 40
    clients: int = 8
    places: int = 16
    training_steps: int | None = None


FULL = Plan()
QUICK = Plan(
    users=(64,), swapping=16, tokens=24, blocks=3, seconds=3, stall_blocks=2, loads=6, crowded_seconds=10,
    training_steps=3,
)  # fmt: skip


async def measure(plan: Plan, console: Console) -> dict[str, Any]:
    """Everything but training; what was found, by measurement."""
    failures, found = Failures(), dict[str, Any]()
    tallies = {name: Tally() for name in ("throughput", "swaps", "crowded")}
    most = max(plan.users)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-adapters-")))
        with console.status("starting vLLM"):
            engine = await stack.enter_async_context(
                servers.vllm(folder, max_loras=plan.slots, max_cpu_loras=most + SPARE)
            )
        progress = stack.enter_context(_progress(console))
        database, directories, store = _home(folder)
        stack.callback(database.close)
        house = House(engine, database, directories, plan.tokens)
        counts = [2 if number < plan.swapping else 1 for number in range(most)]
        bar = progress.add_task("adapters, each heard alone", total=sum(counts))
        guests = await house.invite(counts, lambda: progress.advance(bar))
        shared = {"database_url": database.url.render_as_string(), "adapter_store": store, "model": BASE}
        async with servers.attune(folder, engine, **shared, max_cpu_loras=most + SPARE) as attune:
            party = Party(guests, engine, attune, directories, plan.tokens, failures)
            bar = progress.add_task("adapters loaded", total=most)
            await party.seat(lambda: progress.advance(bar))
            for users in plan.users:
                bar = progress.add_task(f"{users} users", total=2 * (plan.blocks + 1))
                some = replace(party, guests=guests[:users])
                found[f"throughput_{users}"] = await some.throughput(
                    plan.blocks,
                    plan.seconds,
                    tallies["throughput"],
                    partial(progress.advance, bar),
                )
            swapping = replace(party, guests=guests[: plan.swapping])
            bar = progress.add_task("swaps under load", total=plan.swaps)
            found["swaps"] = await swapping.swaps(plan.swaps, tallies["swaps"], lambda: progress.advance(bar))
            bar = progress.add_task("loads beside streams", total=2 * plan.stall_blocks * plan.loads)
            found["stalls"] = await swapping.stalls(plan.stall_blocks, plan.loads, lambda: progress.advance(bar))
        bar = progress.add_task("more users than places", total=2)
        await _empty(engine)
        found["weights_left"] = await _in_workers(engine)
        progress.advance(bar)
        # As a server that was started a moment ago on a disk of its own: everything it serves comes from the store.
        fresh = {**shared, "data_dir": folder / "fresh", "max_cpu_loras": plan.places + 4}
        async with servers.attune(folder, engine, **fresh) as attune:
            party = replace(swapping, attune=attune, guests=guests[: min(plan.users)])
            found["crowded"] = await party.crowded(plan.clients, plan.crowded_seconds, tallies["crowded"])
            found["crowded"] |= {
                "places": plan.places,
                "users": len(party.guests),
                "in_engine": len(await _loaded(engine)),
                "brought_from_store": len(Directories(folder / "fresh" / "adapters").copies()),
            }
        progress.advance(bar)
    return {
        **found,
        "answers": {name: dict(sorted(tally.answers.items())) for name, tally in tallies.items()},
        "leaks": sum(tally.leaks for tally in tallies.values()),
        "first_leak": next((tally.first for tally in tallies.values() if tally.first), None),
        "failed": failures.count.total(),
        "failure_reasons": failures.reasons,
        "plan": {**vars(plan), "others": OTHERS},
    }


def train(steps: int | None, console: Console) -> dict[str, Any]:
    """Training sixteen users at once, as `bench/training.py` measures it."""
    job = TrainingJob(str(BUNDLED), training.recipe_of(steps))
    with tempfile.TemporaryDirectory(prefix="bench-adapters-") as folder:
        return training.measure([training_report.AT], job, Path(folder), console)


def _home(folder: Path) -> tuple[Database, Directories, str]:
    """An empty database, and a folder of adapters with an empty store; the store's URL."""
    data = folder / "data-vllm"
    data.mkdir(mode=0o700)
    database = Database(f"sqlite:///{data / 'attune.db'}")
    database.migrate()
    store = f"file://{folder / 'store'}"
    return database, Directories(data / "adapters", Store(store)), store


async def _empty(engine: Server) -> None:
    async with aiohttp.ClientSession(engine.url) as session:
        for name in await _loaded(engine):
            async with session.post("/v1/unload_lora_adapter", json={"lora_name": name}) as response:
                if response.status != 200:
                    raise Refused(f"{name} could not be unloaded: {await response.text()}")


async def _in_workers(engine: Server) -> int:
    """How many adapters' weights some worker of the engine holds, by vLLM's own list."""
    async with (
        aiohttp.ClientSession(engine.url) as session,
        session.post("/collective_rpc", json={"method": "list_loras"}) as response,
    ):
        if response.status != 200:
            raise Refused(f"The engine's workers were not asked: {await response.text()}")
        told = await response.json()
    return len({number for worker in told["results"] for number in re.findall(r"\d+", str(worker))})


async def _loaded(engine: Server) -> list[str]:
    async with aiohttp.ClientSession(engine.url) as session, session.get("/v1/models") as response:
        return [model["id"] for model in (await response.json())["data"] if model.get("parent")]


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip


@app.command()
def adapters(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-adapters.json"),
    quick: Annotated[bool, typer.Option("--quick", help="A rough run in some four minutes.")] = False,
    with_training: Annotated[bool, typer.Option("--training/--no-training", help="With training many at once.")] = True,
    training_steps: Annotated[
        int | None, typer.Option(min=2, help="Steps of each user that trains; by default the recipe's.")
    ] = None,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the table into docs/adapters.md.")] = False,
) -> None:
    """Measure many users on adapters of their own beside the bare engine, swaps under load, training many at once."""
    plan, console, about = QUICK if quick else FULL, Console(), machine.about()
    try:
        found = uvloop.run(measure(plan, console))
    except (servers.NotStarted, Refused) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    trained = train(training_steps or plan.training_steps, console) if with_training else None
    about["machine"]["load_average_1m_after"] = machine.about()["machine"]["load_average_1m"]
    result = adapters_report.result(found, trained, about)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    adapters_report.show(result, console)
    console.print(f"Figures in {out}.", style="dim")
    if write_docs:
        adapters_report.write_docs(result)
        console.print(f"{adapters_report.DOCS} is rewritten.", style="dim")
    if result["failed"] or result["leaks"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
