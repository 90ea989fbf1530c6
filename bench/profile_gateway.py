"""Where a gateway spends its time: `python -m bench.profile_gateway` samples one arm with py-spy over the mock engine.

Figures are microseconds per request: samples over the sampling rate, divided by the requests that were answered
meanwhile; threads that wait are left out. Sampling stops the server for moments, so that all of it is slower than
without. Native code counts for the Python function that called it; `--gil` leaves out what has released the lock:
commits, the embedder's arithmetic. The folded stacks are written, too: any flame graph viewer reads them.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop
from rich.console import Console

from bench import servers
from bench.arms import USER, Arm, introduce
from bench.load import Caller, Failures, Figures, load
from lab import report
from lab.child import ServerFailed

RATE, TOKENS = 100, 16
ArmName = Literal["attune", "personalised", "uncached", "litellm"]
WAITING = ("select", "Condition.wait", "_worker", "Queue.get", "Runner.run", "run_forever", "run_until_complete")
"""Functions that only wait while nothing is below them."""
PY_SPY = Path(sys.executable).with_name("py-spy")


@dataclass(frozen=True)
class Profile:
    """Microseconds per request of each function, itself and with what it calls, and of each thread."""

    own: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    threads: Counter[str] = field(default_factory=Counter)


def read(stacks: Iterable[str], requests: float) -> Profile:
    """From py-spy's folded stacks, each ``thread;outer;...;inner count``."""
    samples = Profile()
    for line in stacks:
        stack, _, count = line.strip().rpartition(" ")
        thread, *frames = stack.split(";")
        if frames and frames[-1].split(" (")[0].endswith(WAITING):
            continue
        samples.threads[thread] += int(count)
        samples.total.update(dict.fromkeys(frames, int(count)))
        samples.own[frames[-1] if frames else thread] += int(count)
    each = 1_000_000 / RATE / requests
    scaled = (
        Counter({name: round(count * each) for name, count in counter.items()})
        for counter in (samples.own, samples.total, samples.threads)
    )
    return Profile(*scaled)


async def sample(name: str, out: Path, *, clients: int, stream: bool, seconds: float, gil: bool) -> Figures:
    """Put ``clients`` on one arm for ``seconds``, with py-spy on its server; the folded stacks go to ``out``."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engine = await stack.enter_async_context(servers.mock_engine(folder))
        start = servers.litellm if name == "litellm" else servers.attune
        server = await stack.enter_async_context(start(folder, engine))
        personal = name in ("personalised", "uncached")
        if personal:
            await introduce(server)
        arm, failures = Arm(name, server, user=USER if personal else None, fresh=name == "uncached"), Failures()
        callers = [Caller(arm, failures, stream=stream, tokens=TOKENS) for _ in range(clients)]
        await load(callers, 2)  # warms up
        spy = await asyncio.create_subprocess_exec(
            *(str(PY_SPY), "record", "--pid", str(server.pid), "--output", str(out), "--format", "raw", "--threads"),
            *("--function", "--rate", str(RATE), "--duration", str(round(seconds)), *(["--gil"] if gil else [])),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        figures = await load(callers, seconds + 1)
        _, errors = await spy.communicate()
        if spy.returncode:
            raise ServerFailed(f"py-spy could not sample: {errors.decode()[-500:]}")
        if failures.count:
            raise ServerFailed(f"requests failed: {failures.reasons}")
        return figures


def profile(
    arm: Annotated[ArmName, typer.Argument(help="Whose server.")] = "personalised",
    clients: Annotated[int, typer.Option(help="Clients that ask without a pause.")] = 1,
    stream: Annotated[bool, typer.Option(help="Streamed answers.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to sample.")] = 20,
    gil: Annotated[bool, typer.Option("--gil", help="Only what holds the interpreter's lock.")] = False,
) -> None:
    """Print where one arm's server spends its time."""
    file = Path(f"out/profile-{arm}{'-stream' if stream else ''}.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    figures = uvloop.run(sample(arm, file, clients=clients, stream=stream, seconds=seconds, gil=gil))
    rate = figures["requests_per_second"]
    found = read(file.read_text().splitlines(), rate * round(seconds))
    console = Console(width=160)
    console.print(f"{arm}: {rate:.0f} requests/s, p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms")
    outermost = max(found.threads.values(), default=0)
    inner = Counter({where: share for where, share in found.total.items() if share < 0.98 * outermost})
    for title, counter in (("threads", found.threads), ("own time", found.own), ("with callees", inner)):
        rows = [[where, str(share)] for where, share in counter.most_common(40)]
        report.show([report.Table(["where", "µs/request"], rows, title)], console)
    console.print(f"Folded stacks in {file}.")


if __name__ == "__main__":
    typer.run(profile)
