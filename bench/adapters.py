"""`make bench-adapters`: many users on adapters of their own, beside the bare engine with the same adapters.

Adapters are random weights that pass our own validation; what the engine says with each of them alone is known
beforehand, and every answer of the run is compared with it. `docs/adapters.md` says what is measured and shows a run.
"""

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from adapters.artifacts.directories import Directories
from adapters.artifacts.object_store import ObjectStore
from adapters.training.trainer import TrainingJob
from bench import adapters_report, machine, servers, training, training_report
from bench.adapter_users import Publisher, Tally
from bench.load import Failures, Told
from bench.servers import BUNDLED, Server
from bench.swaps import OTHERS, Swaps
from lab import report
from lab.child import ServerFailed
from lab.progress import progress
from store.database import Database

SPARE = 8
"""Places in the engine's memory beside the users': swaps, and adapters that are heard alone."""


@dataclass(frozen=True)
class Plan:
    """How much is measured. ``swapping`` users have two versions; ``places`` are what they share in a crowd."""

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
            started = servers.vllm(folder, max_loras=plan.slots, max_cpu_loras=most + SPARE)
            engine = await stack.enter_async_context(started)
        bars = stack.enter_context(progress(console))

        def bar(title: str, total: int) -> Told:
            return partial(bars.advance, bars.add_task(title, total=total))

        data, store = folder / "data-vllm", f"file://{folder / 'store'}"
        data.mkdir(mode=0o700)
        directories = Directories(data / "adapters", ObjectStore(store))
        database = Database(f"sqlite:///{data / 'attune.db'}")
        stack.callback(database.close)
        database.migrate()
        counts = [2 if number < plan.swapping else 1 for number in range(most)]
        publisher = Publisher(engine, database, directories, plan.tokens)
        users = await publisher.publish(counts, bar("adapters, each heard alone", sum(counts)))
        shared: dict[str, Any] = {"database_url": database.url.render_as_string(), "adapter_store": store}
        shared["model"] = BUNDLED
        async with servers.attune(folder, engine, **shared, max_cpu_loras=most + SPARE) as attune:
            everyone = Swaps(users, engine, attune, directories, plan.tokens, failures)
            await everyone.activate_all(bar("adapters loaded", most))
            for count in plan.users:
                told = bar(f"{count} users", 2 * (plan.blocks + 1))
                some = replace(everyone, users=users[:count])
                found[f"throughput_{count}"] = await some.throughput(
                    plan.blocks, plan.seconds, tallies["throughput"], told
                )
            swapping = replace(everyone, users=users[: plan.swapping])
            told = bar("swaps under load", plan.swaps)
            found["swaps"] = await swapping.swaps(plan.swaps, tallies["swaps"], told)
            told = bar("loads beside streams", 2 * plan.stall_blocks * plan.loads)
            found["stalls"] = await swapping.stalls(plan.stall_blocks, plan.loads, told)
        told = bar("more users than places", 2)
        await _empty(engine)
        found["weights_left"] = await servers.loras_in_workers(engine)
        told()
        # As a server that was started a moment ago on a disk of its own: everything it serves comes from the store.
        fresh = {**shared, "data_dir": folder / "fresh", "max_cpu_loras": plan.places + 4}
        async with servers.attune(folder, engine, **fresh) as attune:
            crowd = replace(swapping, attune=attune, users=users[: min(plan.users)])
            found["crowded"] = await crowd.crowded(plan.clients, plan.crowded_seconds, tallies["crowded"])
            found["crowded"] |= {
                "places": plan.places,
                "users": len(crowd.users),
                "in_engine": len(await _loaded(engine)),
                "brought_from_store": len(Directories(folder / "fresh" / "adapters").copies()),
            }
        told()
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


async def _empty(engine: Server) -> None:
    async with engine.session() as session:
        for name in await _loaded(engine):
            await servers.call(session, "POST", "/v1/unload_lora_adapter", {"lora_name": name})


async def _loaded(engine: Server) -> list[str]:
    async with engine.session() as session:
        models = await servers.call(session, "GET", "/v1/models")
    return [model["id"] for model in models["data"] if model.get("parent")]


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
    except ServerFailed as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    trained = train(training_steps or plan.training_steps, console) if with_training else None
    about["machine"]["load_average_1m_after"] = machine.load()
    result = adapters_report.result(found, trained, about)
    document = adapters_report.DOCS if write_docs else None
    report.conclude(result, adapters_report.parts(result), [out], document, adapters_report.MARK)
    for wrong in (*result["failure_reasons"].values(), result["first_leak"]):
        if wrong:
            console.print(wrong, style="red", markup=False)
    if result["failed"] or result["leaks"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(adapters)
