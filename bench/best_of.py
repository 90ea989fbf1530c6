"""`python -m bench.best_of MODEL`: whether the best of n answers breaks fewer of the user's wishes than one answer.

Users of the everyday world (``lab/everyday``) state their wishes as values. A real server answers each request once,
and once more with ``attune.best_of``, at one temperature. Wishes broken and words of the user's edit are told. MODEL is
what ``ATTUNE_MODEL`` takes.
"""

import asyncio
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from adapters.interval import paired_interval
from bench import machine
from lab.client import Client
from lab.everyday.environment import EverydayEnvironment
from lab.local_server import local_server, progress


@dataclass(frozen=True)
class Cost:
    """What an answer costs its user: wishes that it breaks, and words of the edit that mends them."""

    broken: int
    words: int


async def _asked(client: Client, world: EverydayEnvironment, at: int, n: int, seed: int, room: int) -> Cost:
    round = world.rounds[at]
    values = [{"preference": text} for text in world.wants(round)]
    several = {"best_of": n} if n > 1 else {}
    answer = await client.chat(
        [{"role": "user", "content": round.text}], max_tokens=room, seed=seed, temperature=0.8, store=False,
        values=values, **several,
    )  # fmt: skip
    text = answer.choices[0].message.content
    edited = await world.edit(round, text)
    return Cost(sum(world.broken(round, text).values()), world.cost(round, text, edited))


def summed(one: list[Cost], best: list[Cost], n: int) -> dict[str, Any]:
    """Means of both ways, and what the best saves, with 95% intervals over requests."""
    figures: dict[str, Any] = {"requests": len(one)}
    for name in ("broken", "words"):
        first, second = (np.array([getattr(cost, name) for cost in costs], float) for costs in (one, best))
        mean, interval = paired_interval(first - second)
        figures[name] = {
            "one": round(fmean(first), 3),
            f"best_of_{n}": round(fmean(second), 3),
            "saved": [round(bound, 3) for bound in (mean, *interval)],
        }
    return figures


async def measure(model: str, users: int, rounds: int, n: int, room: int, console: Console) -> dict[str, Any]:
    """Play ``users`` of ``rounds`` requests against a server of its own."""
    os.environ["ATTUNE_MODEL"] = model
    one: list[Cost] = []
    best: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder, progress(console) as bars:
        bar = bars.add_task("requests", total=users * rounds)
        async with local_server(Path(folder), console) as base:
            for user in range(users):
                client = Client(base, f"user-{user}")
                await client.connect()
                world = EverydayEnvironment(seed=user, rounds=rounds)
                for at in range(rounds):
                    one.append(await _asked(client, world, at, 1, at, room))
                    best.append(await _asked(client, world, at, n, at, room))
                    bars.advance(bar)
    return summed(one, best, n)


def main(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")],
    users: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=2, help="Requests of a user.")] = 20,
    n: Annotated[int, typer.Option("-n", min=2, max=4, help="Answers to choose from.")] = 4,
    room: Annotated[int, typer.Option(min=16, help="Tokens of an answer.")] = 160,
    out: Annotated[Path, typer.Option("--json", help="File for the figures.")] = Path("out/bench-best-of.json"),
) -> None:
    """Measure what choosing the best of n answers saves."""
    console = Console(stderr=True)
    figures = asyncio.run(measure(model, users, rounds, n, room, console))
    figures = {"model": Path(model).name, "n": n, **machine.about(), **figures}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=2) + "\n")
    typer.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
