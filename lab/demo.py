"""`attune demo`: simulated users, over the public HTTP API of a real server with real vLLM.

A fresh user, then edits, then an adapter trained from them and swapped in under traffic; the same held-out requests
are measured at each stage. Nothing here reads anything of the server but what HTTP returns.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from openai import APIError
from rich.console import Console
from rich.progress import Progress

from lab.client import Client
from lab.demo_figures import Figures, mean, report_of
from lab.demo_user import Asked, DemoUser, demo_user
from lab.local_server import local_server
from lab.progress import progress
from lab.provenance import commit, vllm_version
from lab.refusal import Refused, refusing
from lab.report import show, write
from lab.work import Work
from preference.distance import normalised_distance
from server.default_model import with_default
from server.models.catalog import DEFAULT
from server.settings import Settings
from server.startup import Told

AT_ONCE = 4
"""Users who play at a time: more would gain nothing on two cores."""
ASKED_AT_ONCE = 12
"""Requests that a user has under way at most: all together stay below what a server allows one key."""
_WORK = "demo-work.jsonl"

app = typer.Typer(help="Play simulated users through edits, preferences and an adapter on a real server.")


class NotPlayed(Refused):
    """A user could not be played to the end; the message says which, and why."""


@dataclass(frozen=True)
class Options:
    """What is played, and where its work lies."""

    rounds: int
    held_out: int
    first: int
    users: int
    out: Path
    url: str | None
    resume: bool


class Play:
    """The demo's plot, step by step, for one simulated user."""

    def __init__(self, client: Client, user: DemoUser, options: Options, seed: int, bars: Progress) -> None:
        self._user = user
        self._client = client
        self._held_out = user.requests(options.held_out)
        self._requests = user.requests(options.rounds)
        self._slots = asyncio.Semaphore(ASKED_AT_ONCE)
        self._bars = bars
        self._seed = seed
        self.figures = Figures()

    async def run(self) -> Figures:
        """Play all stages."""
        await self._stage("none", personalize="off")
        await self._stage("oracle", oracle=True, personalize="off")
        await self._timed("edits", self._edits)
        await self._stage("retrieval", personalize="retrieval")
        await self._timed("adapter", self._adapter)
        if self.figures.adapter["state"] == "ready":
            await self._stage("adapter", personalize="adapter")
            await self._stage("retrieval+adapter", personalize="retrieval+adapter")
        return self.figures

    async def _stage(self, name: str, *, oracle: bool = False, **attune: Any) -> None:
        bar = self._bar(f"measuring: {name}", len(self._held_out))

        async def cost(request: Asked) -> tuple[float, int]:
            values = [{"preference": wish} for wish in self._user.wants(request)]
            async with self._slots:
                answer = await self._client.answer(
                    request.text, store=False, **attune, **({"values": values} if oracle else {})
                )
            self._bars.advance(bar)
            text = answer.choices[0].message.content
            return normalised_distance(text, self._user.edit(request, text)), answer.usage.prompt_tokens

        measured = await asyncio.gather(*map(cost, self._held_out))
        self.figures.stages[name] = mean([c for c, _ in measured])
        self.figures.prompt_tokens[name] = mean([t for _, t in measured])

    async def _edits(self) -> None:
        bar = self._bar("the user edits", len(self._requests))
        for number, request in enumerate(self._requests, 1):
            answer = await self._client.answer(request.text)
            draft = answer.choices[0].message.content
            wanted = self._user.edit(request, draft)
            held = await self._client.edit(answer.id, wanted)
            cost = normalised_distance(draft, wanted)
            self.figures.rounds.append(
                {
                    "round": number, "kind": request.kind, "cost": round(cost, 4), "status": held["status"],
                    "shown": len(answer.attune["preferences"]),
                }
            )  # fmt: skip
            self._bars.advance(bar)

    async def _adapter(self) -> None:
        """Train, gate and swap in an adapter while requests go on, until it serves, and a little longer."""
        stop = asyncio.Event()
        traffic = [asyncio.create_task(self._traffic(stop, i)) for i in range(2)]
        try:
            bar = self._bar("training, gate and swap, with requests under way", None)
            made = await self._client.settled(await self._client.train(), self._held_out[0].text)
            self._bars.update(bar, total=1, completed=1)
            await asyncio.sleep(2)
        finally:
            stop.set()
            await asyncio.gather(*traffic)
        self.figures.adapter = {k: made[k] for k in ("version", "state", "mode", "report")}

    def _bar(self, what: str, total: int | None) -> Any:
        return self._bars.add_task(f"seed {self._seed}: {what}", total=total)

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
    rounds: Annotated[int, typer.Option(min=1, help="Requests that a user makes and edits.")] = 30,
    held_out: Annotated[int, typer.Option(min=1, help="Requests that each stage is measured on.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the user's hidden styles and of the requests.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Play so many users, of this seed and those after it.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for demo.json and demo.png.")] = Path("out"),
    url: Annotated[str | None, typer.Option(help="A running server to use instead of starting one.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the users that the folder has not.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Play simulated users on a real server: fresh, after edits, after an adapter."""
    console = Console(stderr=as_json)
    options = Options(rounds, held_out, seed, seeds, out, url, resume)
    with refusing("the same command with --resume goes on with the users that are left"):
        played = asyncio.run(_demo(options, console))
    about = {"vllm": vllm_version(), "commit": commit(), "held_out": held_out}
    users = [{**vars(figures), **about, "seed": number} for number, figures in played.items()]
    result: dict[str, Any] = users[0] if seeds == 1 else {**about, "users": users}
    write(result, out / "demo.json")
    played[seed].plot(out / "demo.png")
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    show(played[seed].report() if seeds == 1 else report_of(played), console)
    console.print(f"Plot in {out / 'demo.png'}.", style="dim")


async def _demo(options: Options, console: Console) -> dict[int, Figures]:
    """The figures of each user, by seed; what an earlier run has of them is not played again."""
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        (options.out / _WORK).unlink(missing_ok=True)
    work = Work(options.out / _WORK, anew="leave out --resume")
    work.begin(
        rounds=options.rounds, held_out=options.held_out, server=options.url or Settings().model_source,
        commit=commit("server", "preference", "store", "adapters"),
    )  # fmt: skip
    seeds = range(options.first, options.first + options.users)
    left = [seed for seed in seeds if work.get("user", "", str(seed)) is None]
    async with contextlib.AsyncExitStack() as stack:
        url = options.url
        if left and url is None:
            folder = Path(tempfile.mkdtemp(prefix="attune-demo-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            url = await stack.enter_async_context(local_server(folder, console, await _served(console)))
        slots = asyncio.Semaphore(AT_ONCE)
        failed: dict[int, str] = {}
        with progress(console) as bars:

            async def played(seed: int) -> None:
                async with slots:
                    try:
                        async with Client(url or "", f"demo-{uuid.uuid4().hex[:8]}", retries=4) as client:
                            play = Play(client, demo_user(client.model, seed), options, seed, bars)
                            work.add("user", "", str(seed), figures=vars(await play.run()))
                    except (APIError, TimeoutError, ValueError) as error:
                        failed[seed] = f"{type(error).__name__} {error}".strip()

            async with asyncio.TaskGroup() as group:
                for seed in left:
                    group.create_task(played(seed))
    if failed:
        told = "\n".join(f"seed {seed}: {reason}" for seed, reason in failed.items())
        raise NotPlayed(
            f"{len(failed)} of {len(seeds)} users failed; the same command with --resume tries again.\n{told}"
        )
    return {seed: Figures(**(work.get("user", "", str(seed)) or {})["figures"]) for seed in seeds}


async def _served(console: Console) -> dict[str, str]:
    """What to serve: what the environment names, or the default model, which is fetched if it has to be."""
    settings = Settings()
    with contextlib.closing(Told(console, total=DEFAULT.bytes_needed if DEFAULT else 0)) as told:
        named = await asyncio.to_thread(with_default, settings, told.say, told.fetched)
    return {"ATTUNE_MODEL": named.model} if named.model else {}
