"""`make bench-capacity`: hit rates of the real registry beside the simulation's, and what those say of more users.

The registry is the one that serves, with its directories on the disk; in place of an engine there is a pause for each
load and each answer, so that any number of users fits on a small machine. docs/scale.md shows a run.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.lifecycle.versions import ServedVersions, Version
from adapters.registry.registry import Registry
from bench import lru, machine
from bench.lru import Hits, Workload
from lab import report
from lab.report import Report, Table
from preference.ports import Generation
from store.message import Message
from store.owner import Owner
from store.users import User

USERS = 256
SLOTS = (16, 64, 128)
EXPONENTS = (0.8, 1.0, 1.2)
WARM = 0.25
"""The share of a run that does not count: at its beginning nobody is loaded."""
VLLM = Workload(users=64, slots=16, answer=8 * 40 / 351, load=0.3, seconds=40)
"""What `make bench-adapters` measured with a real vLLM: 64 users, 16 places, 8 clients, 351 answers in 40 seconds from
an empty disk, 54% by the adapter (docs/adapters.md). A load, the fetch included, is taken to be .3 seconds."""
VLLM_MEASURED = 0.54
MANY = (10**4, 10**6, 10**8)


class Pause:
    """An ``AdapterHost`` that takes its time and has no model."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self.loads = 0
        self._names: set[str] = set()

    async def load(self, name: str, path: Path) -> None:
        """AdapterHost."""
        await asyncio.sleep(self._workload.load)
        self._names.add(name)
        self.loads += 1

    async def unload(self, name: str) -> None:
        """AdapterHost."""
        self._names.discard(name)

    async def purge(self, chosen: Any) -> None:
        """AdapterHost."""
        self._names -= set(filter(chosen, self._names))

    async def loaded(self) -> set[str]:
        """AdapterHost."""
        return set(self._names)

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        """AdapterHost: the registry's probe."""
        return Generation("", 0, 0)

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        """AdapterHost."""
        return 0.0


async def measured(workload: Workload, directories: Directories, users: Sequence[User], seed: int = 0) -> Hits:
    """What the registry really does with such a workload."""
    version = Version(1, "ready", "adapter", 0.0, {}, 0.0, 0.0)

    async def serving(user: User) -> ServedVersions:
        return ServedVersions(version, None)

    host = Pause(workload)
    registry = Registry(host, directories, capacity=workload.slots, version_of=serving, retry_seconds=lru.RETRY)
    draws, told, started = workload.draws(seed), Hits(), time.monotonic()
    early = 0

    async def client() -> None:
        nonlocal early
        while (now := time.monotonic() - started) < workload.seconds:
            lease = registry.acquire(users[next(draws)])
            if now >= WARM * workload.seconds:
                told.answers += 1
                told.hits += bool(lease.version)
            else:
                early = host.loads
            await asyncio.sleep(workload.answer)
            registry.release(lease)

    await asyncio.gather(*(client() for _ in range(workload.clients)))
    told.loads = host.loads - early
    await registry.close()
    return told


def _publish(directories: Directories, users: Sequence[User]) -> None:
    for user in users:
        adapter = directories.stage(user.opaque_id, 1)
        (adapter / "adapter_model.safetensors").write_bytes(user.opaque_id.encode() * 64)
        directories.publish(adapter, user.opaque_id, Manifest(1, [], "", {}, {}, {}, 0.0))


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Everything that is found."""
    rows = []
    users = [User(Owner("bench", f"user-{n}"), f"{n:032x}", (), 1, revision=1) for n in range(USERS)]
    with tempfile.TemporaryDirectory(prefix="bench-capacity-") as folder:
        directories = Directories(Path(folder))
        _publish(directories, users)
        plan = [(slots, exponent) for slots in SLOTS for exponent in EXPONENTS]
        for slots, exponent in track(plan, f"{USERS} users", console=console):
            workload = Workload(users=USERS, slots=slots, exponent=exponent, seconds=seconds)
            real = asyncio.run(measured(workload, directories, users))
            simulated = lru.simulate(workload, seed=1, warm=WARM * seconds)
            rows.append({
                "places": slots, "exponent": exponent, "measured": real.share, "simulated": simulated.share,
                "on_paper": lru.on_paper(USERS, slots, exponent),
                "loads_measured": real.loads, "loads_simulated": simulated.loads, "answers": real.answers,
            })  # fmt: skip
    paper = [
        {
            "users": many, "exponent": exponent,
            "hits": {str(slots): lru.on_paper(many, slots, exponent) for slots in (100, 1_000, 10_000, 100_000)},
            "places_for": {str(share): lru.places_for(many, share, exponent) for share in (0.5, 0.8, 0.9)},
        }
        for many in MANY for exponent in EXPONENTS
    ]  # fmt: skip
    return {
        **machine.about(),
        "at_256": rows,
        "largest_difference": max(abs(row["measured"] - row["simulated"]) for row in rows),
        "vllm": {"measured": VLLM_MEASURED, "simulated": lru.simulate(VLLM).share},
        "on_paper": paper,
    }


def parts(found: dict[str, Any]) -> Report:
    """The report of a run."""
    shares = ("measured", "simulated", "on_paper")
    rows = [
        [str(row["places"]), str(row["exponent"]), *(f"{row[name]:.1%}" for name in shares)] for row in found["at_256"]
    ]
    paper = [
        [
            f"{row['users']:,}", str(row["exponent"]), *(f"{share:.0%}" for share in row["hits"].values()),
            f"{row['places_for']['0.8']:,}",
        ]
        for row in found["on_paper"]
    ]  # fmt: skip
    told = found["vllm"]
    return [
        Table(["places", "exponent", "measured", "simulated", "on paper"], rows, "256 users: answers by the adapter"),
        f"vLLM, 64 users on 16 places: measured {told['measured']:.0%}, simulated {told['simulated']:.0%}",
        Table(["users", "exponent", "100", "1,000", "10,000", "100,000 places", "places for 80%"], paper, "On paper"),
    ]


def main(
    seconds: Annotated[float, typer.Option(help="Seconds of each of the nine measurements.")] = 20,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything there.")] = None,
) -> None:
    """Measure, simulate, extrapolate."""
    logging.disable(logging.WARNING)  # that there is no room is what this is about
    console = Console()
    found = run(seconds, console)
    report.show(parts(found), console)
    if json_file is not None:
        report.write(found, json_file)


if __name__ == "__main__":
    typer.run(main)
