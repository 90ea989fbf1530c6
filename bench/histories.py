"""`python -m bench.histories`: what looking at histories costs a user's answer, before the mock engine.

The same requests go to a server that looks and to one that does not (``ATTUNE_HISTORY_DAYS=0``), in turns. Processor
time is the whole server's, with what it does after an answer.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from bench import machine, servers
from bench.arms import USER, Arm, introduce
from bench.load import Caller, Failures
from lab import report
from lab.child import ServerFailed

WARM, TAIL_SECONDS = 100, 2.0
DAYS = {"looks": 14, "does not": 0}


async def _one(days: int, requests: int) -> tuple[float, float]:
    """Milliseconds of an answer: of a core, mean; and until it is there, median. Raises ``ServerFailed``."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engine = await stack.enter_async_context(servers.mock_engine(folder))
        server = await stack.enter_async_context(servers.attune(folder, engine, history_days=days))
        await introduce(server)
        caller = Caller(Arm("user", server, user=USER), failures := Failures(), stream=False, tokens=32)
        for _ in range(WARM):
            await caller.ask()
        before = machine.cpu_seconds(server.pid)
        answers = [await caller.ask() for _ in range(requests)]
        taken = [answer.whole / 1e6 for answer in answers if answer is not None]
        caller.close()
        await asyncio.sleep(TAIL_SECONDS)
        if len(taken) < requests:
            raise ServerFailed(f"requests failed: {failures.reasons}")
        return (machine.cpu_seconds(server.pid) - before) / requests * 1e3, median(taken)


def main(
    requests: Annotated[int, typer.Option(min=10, help="Of each block.")] = 400,
    blocks: Annotated[int, typer.Option(min=1, help="Of each server.")] = 3,
    out: Annotated[Path, typer.Option("--json", help="File for the figures.")] = Path("out/bench-histories.json"),
) -> None:
    """Measure a user's answers with and without the look at their history."""
    told: dict[str, Any] = {"requests": requests, "blocks": blocks, **machine.about()}
    found = [{name: asyncio.run(_one(days, requests)) for name, days in DAYS.items()} for _ in range(blocks)]
    for name in DAYS:
        cpu, whole = (round(median(column), 2) for column in zip(*(block[name] for block in found), strict=True))
        told[name] = {"core_ms": cpu, "answer_ms": whole}
        typer.echo(f"{name}: {cpu} ms of a core, {whole} ms until the answer is there")
    report.write(told, out)


if __name__ == "__main__":
    typer.run(main)
