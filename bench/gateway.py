"""`make bench-gateway`: what Attune adds to an engine, measured beside the engine itself, LiteLLM and vllm-router.

One run, three engines one after the other: a mock that costs nothing and knows when it sent each token, vLLM with the
bundled model, and vLLM with a real one. `docs/gateway.md` says what is measured and shows a run.
"""

import contextlib
import math
import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import uvloop
from rich.console import Console

from bench import gateway_report, machine, servers
from bench.arms import FRESH_USER, USER, Arm, introduce
from bench.load import Failures, Figures, ManyClients, OneClient, throughput, times
from bench.servers import Server
from lab import report
from lab.child import ServerFailed
from lab.progress import progress

PACE_MS = 5
"""Between the tokens of the mock engine where the time between tokens is measured."""

CLIENTS = (1, 8, 64)
"""Who stream at once."""

MEASUREMENTS = {
    "whole": "answers", "stream": "streamed answers", "first": "first tokens", "paced": "time between tokens",
    "load": "requests per second", "crowd": "many streams",
}  # fmt: skip
"""By name, in the order in which they are made. ``whole`` and ``load`` are not streamed.

``first`` are streams of one token: on few cores vLLM may hand over a short answer's tokens all at once at its end.
``crowd`` are many clients that stream, of some arms.
"""

Plan = Mapping[str, OneClient | ManyClients]
"""How much is measured, by measurement."""
Found = dict[str, dict[str, list[Figures]]]
"""Measurement, then arm, then one entry a block, or a number of clients."""

FULL: Mapping[str, Plan] = {
    "mock": {
        "whole": OneClient(tokens=16, blocks=9, requests=150),
        "stream": OneClient(tokens=16, blocks=9, requests=150),
        "paced": OneClient(tokens=32, blocks=7, requests=12),
        "load": ManyClients(tokens=16, blocks=3, clients=(1, 2, 4, 8, 16, 32, 64), seconds=1),
        "crowd": ManyClients(tokens=16, blocks=3, clients=CLIENTS, seconds=2),
    },
    "vllm": {
        "whole": OneClient(tokens=16, blocks=5, requests=20),
        "stream": OneClient(tokens=16, blocks=5, requests=20),
        "first": OneClient(tokens=1, blocks=9, requests=30),
        "load": ManyClients(tokens=8, blocks=2, clients=(1, 2, 3, 4, 8, 16), seconds=1.5),
        "crowd": ManyClients(tokens=16, blocks=2, clients=CLIENTS, seconds=4),
    },
    "smollm": {
        "whole": OneClient(tokens=16, blocks=2, requests=8),
        "stream": OneClient(tokens=16, blocks=2, requests=8),
        "first": OneClient(tokens=1, blocks=5, requests=15),
        "crowd": ManyClients(tokens=16, blocks=2, clients=CLIENTS, seconds=8),
    },
}
QUICK: Mapping[str, Plan] = {
    engine: {name: asked.quick() for name, asked in plan.items()} for engine, plan in FULL.items()
}
ENGINES = {"mock": servers.mock_engine, "vllm": servers.vllm, "smollm": servers.smollm}
CROWD = ("raw-prompt", "raw-prompt-fresh", "personalised", "uncached")
CROWD_OF_MOCK = ("raw", "personalised", "uncached", "litellm", "router")


async def measure(
    plans: Mapping[str, Plan], console: Console, *, with_litellm: bool, with_router: bool
) -> dict[str, Any]:
    """The whole benchmark; what it found, as the JSON that is written."""
    about, failures, found = machine.about(), Failures(), dict[str, Found]()
    for name, plan in plans.items():
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            with console.status(f"starting {name}, and the gateways in front of it"):
                # One after the other: two heavy starts on few cores hold each other up.
                engine = await stack.enter_async_context(ENGINES[name](folder))
                gateways = {"attune": await stack.enter_async_context(servers.attune(folder, engine))}
                if with_litellm:
                    gateways["litellm"] = await stack.enter_async_context(servers.litellm(folder, engine))
                if with_router:
                    gateways["router"] = await stack.enter_async_context(servers.vllm_router(folder, [engine]))
                arms = await _arms(engine, gateways)
            found[name] = await _measured(arms, engine, plan, failures, console)
    return gateway_report.result(found, failures, about)


async def _measured(arms: list[Arm], engine: Server, plan: Plan, failures: Failures, console: Console) -> Found:
    """All measurements of ``plan`` with one engine."""
    found: Found = {}
    with progress(console) as bars:
        for name in (name for name in MEASUREMENTS if name in plan):
            asked, stream = plan[name], name not in ("whole", "load")
            some = arms
            if name == "crowd":
                some = [arm for arm in arms if arm.name in (CROWD_OF_MOCK if engine.name == "mock" else CROWD)]
            steps = len(asked.clients) * asked.blocks if isinstance(asked, ManyClients) else asked.blocks + 1
            bar = bars.add_task(f"{engine.name}: {MEASUREMENTS[name]}", total=steps * len(some))
            told = partial(bars.advance, bar)
            if name == "paced":
                await servers.set_pace(engine, PACE_MS)
            if isinstance(asked, ManyClients):
                slow = 500 if name == "load" else math.inf
                found[name] = await throughput(some, asked, failures, told, stream=stream, too_slow_ms=slow)
            else:
                found[name] = await times(some, asked, failures, told, stream=stream)
            if name == "paced":
                await servers.set_pace(engine, 0)
    return found


async def _arms(engine: Server, gateways: Mapping[str, Server]) -> list[Arm]:
    """The arms over one engine. With vLLM the prompts themselves cost time, so that it is asked them raw, too."""
    attune = gateways["attune"]
    fresh_prompts = await introduce(attune, FRESH_USER)
    prompts = await introduce(attune)
    arms = [Arm("raw", engine)]
    if engine.name != "mock":
        arms += [
            Arm("raw-fresh", engine, fresh=True),
            Arm("raw-prompt", engine, prompts=prompts),
            Arm("raw-prompt-fresh", engine, fresh=True, prompts=fresh_prompts),
        ]
    return [
        *arms,
        Arm("unpersonalised", attune),
        Arm("personalised", attune, user=USER),
        Arm("uncached", attune, user=FRESH_USER, fresh=True),
        *(Arm(name, server) for name, server in gateways.items() if name != "attune"),
    ]


def gateway(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-gateway.json"),
    quick: Annotated[bool, typer.Option("--quick", help="A rough run in two minutes.")] = False,
    engine: Annotated[Literal["mock", "vllm", "smollm", "all"], typer.Option(help="Before which engine.")] = "all",
    litellm: Annotated[bool, typer.Option(help="With LiteLLM's proxy.")] = True,
    router: Annotated[bool, typer.Option(help="With vllm-router.")] = True,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put table and plot into docs/.")] = False,
) -> None:
    """Measure what Attune adds to an engine, beside the engine itself, LiteLLM's proxy and vllm-router."""
    if litellm and not servers.LITELLM.is_file():
        raise typer.BadParameter("LiteLLM is not set up: run this as `make bench-gateway`, or give --no-litellm")
    if router and not servers.VLLM_ROUTER.is_file():
        raise typer.BadParameter("vllm-router is not set up: run this as `make bench-gateway`, or give --no-router")
    console = Console()
    plans = {name: plan for name, plan in (QUICK if quick else FULL).items() if engine in (name, "all")}
    try:
        result = uvloop.run(measure(plans, console, with_litellm=litellm, with_router=router))
    except ServerFailed as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    plot = out.with_suffix(".png")
    document = gateway_report.DOCS if write_docs else None
    report.conclude(result, gateway_report.parts(result), [out], document, gateway_report.MARK)
    gateway_report.plot(result, plot)
    if document is not None:
        shutil.copyfile(plot, document.with_suffix(".png"))
    if result["failures"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(gateway)
