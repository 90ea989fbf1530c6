"""`attune demo`: one simulated user, over the public HTTP API of a real server with real vLLM.

A fresh user, then edits, then an adapter trained from them and swapped in under traffic; the same held-out requests
are measured at each stage. Nothing here reads anything of the server but what HTTP returns.
"""

import asyncio
import contextlib
import json
import random
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from openai import APIError
from rich.console import Console

from lab.client import Client
from lab.demo_figures import KINDS, Figures, mean
from lab.lexicon import KIND_BY_NAME
from lab.local_server import NotStarted, local_server, progress
from lab.provenance import commit, vllm_version
from lab.simulated_user import SimulatedUser
from lab.style import canonical_phrase
from lab.world import Request
from preference.distance import normalised_distance

app = typer.Typer(help="Play one user through edits, preferences and an adapter on a real server.")


class Play:
    """The demo's plot, step by step, for one simulated user."""

    def __init__(self, base: str, *, rounds: int, held_out: int, seed: int, console: Console) -> None:
        self._rng = random.Random(seed)
        self._user = SimulatedUser.invent(KINDS, seed)
        self._client = Client(base, f"demo-{uuid.uuid4().hex[:8]}")
        self._rounds = rounds
        self._held_out = self._requests(held_out)
        self._console = console
        self.figures = Figures()

    async def run(self) -> Figures:
        """Play all stages."""
        await self._client.connect()
        try:
            await self._stage("none", personalize="off")
            await self._stage("oracle", oracle=True, personalize="off")
            await self._timed("edits", self._edits)
            await self._stage("retrieval", personalize="retrieval")
            await self._timed("adapter", self._adapter)
            await self._stage("adapter", personalize="adapter")
            await self._stage("retrieval+adapter", personalize="retrieval+adapter")
        finally:
            await self._client.close()
        return self.figures

    def _requests(self, number: int) -> list[Request]:
        """Every kind comes once before any comes again, in an order of its own each time."""
        kinds: list[str] = []
        while len(kinds) < number:
            kinds += self._rng.sample(KINDS, len(KINDS))
        return [self._user.request(KIND_BY_NAME[kind], self._rng) for kind in kinds[:number]]

    async def _stage(self, name: str, *, oracle: bool = False, **attune: Any) -> None:
        with progress(self._console) as bars:
            bar = bars.add_task(f"measuring: {name}", total=len(self._held_out))

            async def cost(request: Request) -> tuple[float, int]:
                values = [{"preference": canonical_phrase(a, v)} for a, v in self._user.wants(request).items()]
                answer = await self._client.answer(
                    request.text, store=False, **attune, **({"values": values} if oracle else {})
                )
                bars.advance(bar)
                text = answer.choices[0].message.content
                return normalised_distance(text, self._user.edit(request, text)), answer.usage.prompt_tokens

            measured = await asyncio.gather(*map(cost, self._held_out))
        self.figures.stages[name] = mean([c for c, _ in measured])
        self.figures.prompt_tokens[name] = mean([t for _, t in measured])

    async def _edits(self) -> None:
        with progress(self._console) as bars:
            bar = bars.add_task("the user edits", total=self._rounds)
            for number, request in enumerate(self._requests(self._rounds), 1):
                answer = await self._client.answer(request.text)
                draft = answer.choices[0].message.content
                wanted = self._user.edit(request, draft)
                held = await self._client.edit(answer.id, wanted)
                cost = normalised_distance(draft, wanted)
                self.figures.rounds.append(
                    {
                        "round": number, "kind": request.facts.kind, "cost": round(cost, 4), "status": held["status"],
                        "shown": len(answer.attune["preferences"]),
                    }
                )  # fmt: skip
                bars.update(bar, advance=1, description=f"the user edits (last cost {cost:.2f})")

    async def _adapter(self) -> None:
        """Train, gate and swap in an adapter while requests go on, until it serves, and a little longer."""
        stop = asyncio.Event()
        traffic = [asyncio.create_task(self._traffic(stop, i)) for i in range(2)]
        try:
            with progress(self._console) as bars:
                bar = bars.add_task("training, gate and swap, with requests under way", total=None)
                made = await self._client.settled(await self._client.train(), self._held_out[0].text)
                bars.update(bar, total=1, completed=1)
            await asyncio.sleep(2)
        finally:
            stop.set()
            await asyncio.gather(*traffic)
        self.figures.adapter = {k: made[k] for k in ("version", "state", "mode", "report")}

    async def _traffic(self, stop: asyncio.Event, offset: int) -> None:
        number = offset
        while not stop.is_set():
            self.figures.requests_during_swap += 1
            try:
                await self._client.answer(self._held_out[number % len(self._held_out)].text, store=False)
            except APIError:
                self.figures.failed_during_swap += 1
            number += 2
            await asyncio.sleep(0.5)  # a busy user, not a load test: the trainer shares these cores

    async def _timed(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        started = time.monotonic()
        await step()
        self.figures.seconds[name] = round(time.monotonic() - started, 1)


@app.callback(invoke_without_command=True)
def demo(
    rounds: Annotated[int, typer.Option(help="Requests that the user makes and edits.")] = 60,
    held_out: Annotated[int, typer.Option(help="Requests that each stage is measured on.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the user's hidden styles and of the requests.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for demo.json and demo.png.")] = Path("out"),
    url: Annotated[str | None, typer.Option(help="A running server to use instead of starting one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Play one simulated user on a real server: fresh, after edits, after an adapter."""
    console = Console(stderr=as_json)
    try:
        figures = asyncio.run(_demo(url, rounds, held_out, seed, console))
    except NotStarted as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    result = {**vars(figures), "vllm": vllm_version(), "commit": commit(), "held_out": held_out, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    figures.plot(out / "demo.png")
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    figures.show(console)
    console.print(f"[dim]Figures in {out / 'demo.json'}, plot in {out / 'demo.png'}.[/dim]")


async def _demo(url: str | None, rounds: int, held_out: int, seed: int, console: Console) -> Figures:
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="attune-demo-"))
            url = await stack.enter_async_context(local_server(Path(folder), console))
        return await Play(url, rounds=rounds, held_out=held_out, seed=seed, console=console).run()
