"""`make bench-gateway`: what Attune adds to an engine, measured beside the engine itself, LiteLLM and vllm-router.

One run, three engines one after the other: a mock that costs nothing and knows when it sent each token, vLLM with the
bundled model, and vLLM with a real one. `docs/gateway.md` says what is measured and shows a run.
"""

import asyncio
import contextlib
import json
import math
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import machine, report, servers
from bench.arms import FRESH_USER, USER, Arm, Refused, introduce
from bench.measure import Failures, Figures, Scenario, throughput, times
from bench.servers import Server

PACE_MS = 5
"""Between the tokens of the mock engine where the time between tokens is measured."""

CLIENTS = (1, 8, 64)
"""Who stream at once."""

app = typer.Typer(add_completion=False)
Found = dict[str, dict[str, list[Figures]]]
"""Measurement, then arm, then one entry a block, or a number of clients."""


@dataclass(frozen=True)
class Load:
    """Clients that ask without a pause: how many, for how long."""

    scenario: Scenario
    clients: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How much is measured. One client: ``whole`` unstreamed, ``stream`` and ``paced`` streamed answers.

    ``first`` are streams of one token: on few cores vLLM may hand over a short answer's tokens all at once at its end.
    ``crowd`` are many clients that stream, of some arms.
    """

    whole: Scenario
    stream: Scenario
    load: Load | None = None
    crowd: Load | None = None
    first: Scenario | None = None
    paced: Scenario | None = None


FULL = {
    "mock": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=9, requests=150),
        stream=Scenario(stream=True, tokens=16, blocks=9, requests=150),
        paced=Scenario(stream=True, tokens=32, blocks=7, requests=12),
        load=Load(Scenario(stream=False, tokens=16, blocks=3, requests=0), (1, 2, 4, 8, 16, 32, 64), 1),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=3, requests=0), CLIENTS, 2),
    ),
    "vllm": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=5, requests=20),
        stream=Scenario(stream=True, tokens=16, blocks=5, requests=20),
        first=Scenario(stream=True, tokens=1, blocks=9, requests=30),
        load=Load(Scenario(stream=False, tokens=8, blocks=2, requests=0), (1, 2, 3, 4, 8, 16), 1.5),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=2, requests=0), CLIENTS, 4),
    ),
    "smollm": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=2, requests=8),
        stream=Scenario(stream=True, tokens=16, blocks=2, requests=8),
        first=Scenario(stream=True, tokens=1, blocks=5, requests=15),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=2, requests=0), CLIENTS, 8),
    ),
}
QUICK = {
    "mock": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=3, requests=40),
        stream=Scenario(stream=True, tokens=16, blocks=3, requests=40),
        paced=Scenario(stream=True, tokens=32, blocks=3, requests=6),
        load=Load(Scenario(stream=False, tokens=16, blocks=1, requests=0), (1, 4, 16), 1),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=1, requests=0), CLIENTS, 1),
    ),
    "vllm": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=2, requests=12),
        stream=Scenario(stream=True, tokens=16, blocks=2, requests=12),
        first=Scenario(stream=True, tokens=1, blocks=3, requests=20),
        load=Load(Scenario(stream=False, tokens=8, blocks=1, requests=0), (1, 4), 1),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=1, requests=0), CLIENTS, 2),
    ),
    "smollm": Plan(
        whole=Scenario(stream=False, tokens=16, blocks=1, requests=8),
        stream=Scenario(stream=True, tokens=16, blocks=1, requests=8),
        first=Scenario(stream=True, tokens=1, blocks=2, requests=10),
        crowd=Load(Scenario(stream=True, tokens=16, blocks=1, requests=0), CLIENTS, 4),
    ),
}


@dataclass
class Run:
    """One run: what was found with each engine, and what failed."""

    console: Console
    with_litellm: bool
    with_router: bool
    found: dict[str, Found] = field(default_factory=dict)
    failures: Failures = field(default_factory=Failures)

    async def measure(self, engine_name: str, plan: Plan) -> None:
        """All measurements of ``plan`` with one engine."""
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            with self.console.status(f"starting {engine_name}, and the gateways in front of it"):
                engine = await stack.enter_async_context(_ENGINES[engine_name](folder))
                gateways = await stack.enter_async_context(self._gateways(folder, engine))
                arms = await _arms(engine, gateways)
            self.found[engine_name] = await self._all(arms, engine, plan)

    async def _all(self, arms: list[Arm], engine: Server, plan: Plan) -> Found:
        found: Found = {}
        with self._progress() as progress:
            for name, scenario in (
                ("whole", plan.whole), ("stream", plan.stream), ("first", plan.first), ("paced", plan.paced),
            ):  # fmt: skip
                if scenario is None:
                    continue
                if name == "paced":
                    await servers.set_pace(engine, PACE_MS)
                bar = progress.add_task(f"{engine.name}: {_TITLES[name]}", total=(scenario.blocks + 1) * len(arms))
                found[name] = await times(arms, scenario, self.failures, partial(progress.advance, bar))
                if name == "paced":
                    await servers.set_pace(engine, 0)
            asking = [arm for arm in arms if arm.name in (_CROWD_OF_MOCK if engine.name == "mock" else _CROWD)]
            for name, load, some in (("load", plan.load, arms), ("crowd", plan.crowd, asking)):
                if load is not None:
                    total = len(load.clients) * load.scenario.blocks * len(some)
                    bar = progress.add_task(f"{engine.name}: {_TITLES[name]}", total=total)
                    found[name] = await throughput(
                        some, load.scenario, load.clients, load.seconds, self.failures,
                        partial(progress.advance, bar),
                        too_slow_ms=500 if name == "load" else math.inf,
                    )  # fmt: skip
        return found

    @contextlib.asynccontextmanager
    async def _gateways(self, folder: Path, engine: Server) -> AsyncIterator[dict[str, Server]]:
        """Started one after the other: two heavy starts on few cores hold each other up."""
        async with contextlib.AsyncExitStack() as stack:
            gateways = {"attune": await stack.enter_async_context(servers.attune(folder, engine))}
            if self.with_litellm:
                gateways["litellm"] = await stack.enter_async_context(servers.litellm(folder, engine))
            if self.with_router:
                gateways["router"] = await stack.enter_async_context(servers.vllm_router(folder, [engine]))
            yield gateways

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), console=self.console,
        )  # fmt: skip


_ENGINES = {"mock": servers.mock_engine, "vllm": servers.vllm, "smollm": servers.smollm}
_TITLES = {
    "whole": "answers", "stream": "streamed answers", "first": "first tokens", "paced": "time between tokens",
    "load": "requests per second", "crowd": "many streams",
}  # fmt: skip
_CROWD = ("raw-prompt", "raw-prompt-fresh", "personalised", "uncached")
_CROWD_OF_MOCK = ("raw", "personalised", "uncached", "litellm", "router")


async def _arms(engine: Server, gateways: Mapping[str, Server]) -> list[Arm]:
    """The arms over one engine. With vLLM the prompts themselves cost time, so that it is asked them raw, too."""
    attune = gateways["attune"]
    fresh_prompts = tuple(await introduce(attune, FRESH_USER))
    prompts = tuple(await introduce(attune))
    arms = [Arm("raw", engine)]
    if engine.name != "mock":
        arms += [
            Arm("raw-fresh", engine, fresh=True),
            Arm("raw-prompt", engine, messages=prompts),
            Arm("raw-prompt-fresh", engine, fresh=True, messages=fresh_prompts),
        ]
    arms += [
        Arm("unpersonalised", attune),
        Arm("personalised", attune, user=USER),
        Arm("uncached", attune, user=FRESH_USER, fresh=True),
    ]
    if "litellm" in gateways:
        arms.append(Arm("litellm", gateways["litellm"]))
    if "router" in gateways:
        arms.append(Arm("router", gateways["router"]))
    return arms


async def measure(
    plans: Mapping[str, Plan], console: Console, *, with_litellm: bool, with_router: bool
) -> dict[str, Any]:
    """The whole benchmark; what it found, as the JSON that is written."""
    about = await asyncio.to_thread(machine.about)
    run = Run(console, with_litellm, with_router)
    for engine, plan in plans.items():
        await run.measure(engine, plan)
    return report.result(run.found, run.failures, about)


@app.command()
def gateway(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-gateway.json"),
    quick: Annotated[bool, typer.Option("--quick", help="A rough run in two minutes.")] = False,
    engine: Annotated[str, typer.Option(help="mock | vllm | smollm | all")] = "all",
    litellm: Annotated[bool, typer.Option(help="With LiteLLM's proxy.")] = True,
    router: Annotated[bool, typer.Option(help="With vllm-router.")] = True,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put table and plot into docs/.")] = False,
) -> None:
    """Measure what Attune adds to an engine, beside the engine itself, LiteLLM's proxy and vllm-router."""
    if engine not in (*_ENGINES, "all"):
        raise typer.BadParameter(f"{engine!r} is none of {', '.join(_ENGINES)}, all", param_hint="--engine")
    if litellm and not servers.has_litellm():
        raise typer.BadParameter("LiteLLM is not set up: run this as `make bench-gateway`, or give --no-litellm")
    if router and not servers.has_router():
        raise typer.BadParameter("vllm-router is not set up: run this as `make bench-gateway`, or give --no-router")
    console = Console()
    plans = {name: plan for name, plan in (QUICK if quick else FULL).items() if engine in (name, "all")}
    try:
        result = uvloop.run(measure(plans, console, with_litellm=litellm, with_router=router))
    except (servers.NotStarted, Refused) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    plot = out.with_suffix(".png")
    report.plot(result, plot)
    report.show(result, console)
    console.print(f"Figures in {out}, plot in {plot}.", style="dim")
    if write_docs:
        report.write_docs(result, plot)
        console.print("docs/gateway.md and docs/gateway.png are rewritten.", style="dim")
    if result["failures"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
