"""`make bench-recall`: what a recall costs without its embedding, at a million rows of ten thousand users.

The real `Recall` over a real SQLite file, beside one FAISS index that all users share, with a filter. One process, no
server: what is measured is shorter than a request's way through HTTP. `docs/recall.md` says what, and shows a run.
"""

import asyncio
import ctypes
import gc
import inspect
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import faiss
import numpy as np
import typer
import uvloop
from rich.console import Console
from sqlalchemy import Connection
from threadpoolctl import threadpool_limits

from bench import machine, recall_report, shared_index
from bench.load import Figures, medians
from bench.population import REQUESTS, Population, PopulationEmbedder
from bench.stopwatch import Stopwatch, microseconds
from lab import report
from lab.progress import bar
from preference.recall.index import RecallLimits
from preference.recall.recall import Recall
from store.database import Database
from store.users import User

P = ParamSpec("P")
T = TypeVar("T")
K = 5
WARM = 50
"""Of a block, the first ones: the arm before has taken their place in the processor's caches."""
DEFAULT_CAPACITY: int = inspect.signature(Recall).parameters["capacity"].default
Asked = Sequence[tuple[User, str]]


@dataclass(frozen=True)
class Plan:
    """How much is measured: recalls a block of what is in memory, of what may not be, and searches of a whole index.

    ``capacity`` is recall's own, in vectors.
    """

    blocks: int
    recalls: int
    misses: int
    searches: int
    capacity: int = DEFAULT_CAPACITY


FULL = Plan(blocks=5, recalls=20_000, misses=3000, searches=5000)
QUICK = Plan(blocks=3, recalls=4000, misses=300, searches=500)


class CountingDatabase(Database):
    """Counts its reads: a recall that reads had to load its user."""

    reads = 0

    def read_now(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One more."""
        self.reads += 1
        return super().read_now(fn, *args, **kwargs)


class Run:
    """One run: recalls of what is in memory and what is not, the shared indexes, and their memory."""

    def __init__(self, population: Population, plan: Plan, database: CountingDatabase, console: Console) -> None:
        self.population = population
        self.plan = plan
        self.database = database
        self.console = console
        self.rng = random.Random(population.seed)
        self.embedder = PopulationEmbedder(population)
        self.memory: dict[str, float] = {}

    async def measure(self) -> dict[str, Any]:
        """Everything, as JSON."""
        population = self.population
        default = Recall(self.database, self.embedder, RecallLimits(), capacity=self.plan.capacity)
        per_user = 1 + population.rows + REQUESTS
        everyone = Recall(self.database, self.embedder, RecallLimits(), capacity=population.users * per_user)
        few = range(min(population.users, self.plan.capacity // per_user))
        with self._memory("recall"):
            await self._warm(everyone, range(population.users), "recall: every user loaded once")
        with self._memory("recall, default capacity"):
            await self._warm(default, few, "recall: as many as the default holds")
        with self._memory("flat"), bar(self.console, "shared flat index", population.users) as told:
            exact = shared_index.flat(population, told)
        with self._memory("ivf"), bar(self.console, "shared inverted file", population.users) as told:
            approximate = shared_index.inverted(population, told)
        searches = shared_index.searches(exact, approximate)

        arms: dict[str, Callable[[], Awaitable[Stopwatch]]] = {
            "recall": lambda: self._recalls(everyone, self._draw(self.plan.recalls)),
            "recall, few users": lambda: self._recalls(default, self._draw(self.plan.recalls, few)),
            **{name: lambda search=search: self._searches(search) for name, search in searches.items()},  # type: ignore[misc]
        }
        blocks: dict[str, list[Figures]] = {name: [] for name in arms}
        with bar(self.console, "in turn", (self.plan.blocks + 1) * len(arms)) as told:
            for block in range(-1, self.plan.blocks):  # the first one warms up
                for name, arm in arms.items():
                    watch = await arm()
                    if block >= 0:
                        cpu = {f"cpu_{figure}": value for figure, value in microseconds(watch.cpu[WARM:]).items()}
                        blocks[name].append(microseconds(watch.wall[WARM:]) | cpu)
                    told(1)
        return {
            "arms": {name: {"median": medians(found), "blocks": found} for name, found in blocks.items()},
            "found": {"recall": await self._found(everyone), **{n: self._agreement(s) for n, s in searches.items()}},
            "default_capacity": await self._default_capacity(default),
            "changes": {
                "recall": {"delete or add": await self._changes(everyone)},
                "flat": shared_index.changes(exact, self.embedder.requests[0, :1]),
                "ivf": shared_index.changes(approximate, self.embedder.requests[0, :1]),
            },
            "memory_mb": self.memory,
        }

    def _draw(self, count: int, among: Sequence[int] | None = None) -> Asked:
        return [(self.population.user(u), self.population.text(u, r)) for u, r in self._numbers(count, among)]

    def _numbers(self, count: int, among: Sequence[int] | None = None) -> list[tuple[int, int]]:
        """Users and requests at random."""
        numbers = self.rng.choices(among or range(self.population.users), k=count)
        return [(number, self.rng.randrange(REQUESTS)) for number in numbers]

    async def _warm(self, recall: Recall, numbers: Sequence[int], title: str) -> None:
        with bar(self.console, title, len(numbers)) as told:
            for number in numbers:
                for request in range(REQUESTS):
                    await recall.recall(self.population.user(number), self.population.text(number, request), k=K)
                told(1)

    async def _recalls(self, recall: Recall, asked: Asked) -> Stopwatch:
        """The times of each. Nothing may be read meanwhile: everything is in memory."""
        reads, watch = self.database.reads, Stopwatch()
        for user, text in asked:
            with watch:
                await recall.recall(user, text, k=K)
        if self.database.reads != reads:
            raise RuntimeError("a user that should be in memory was loaded")
        return watch

    async def _searches(self, search: shared_index.Search) -> Stopwatch:
        drawn = self._numbers(self.plan.searches)
        for user, _ in drawn:
            search.prepare(user, self.population.rows)
        watch = Stopwatch()
        for user, request in drawn:
            vector = self.embedder.requests[user, request][None]
            with watch:
                search.rows(user, vector, K)
        return watch

    async def _default_capacity(self, recall: Recall) -> dict[str, Any]:
        """Users at random, of whom the default capacity holds some: the others are loaded from rows."""
        hits, misses = Stopwatch(), Stopwatch()
        for user, text in self._draw(self.plan.misses * self.plan.blocks):
            reads, watch = self.database.reads, Stopwatch()
            with watch:
                await recall.recall(user, text, k=K)
            (misses if self.database.reads > reads else hits).wall += watch.wall
        return {
            "capacity_vectors": self.plan.capacity,
            "share_of_misses": round(len(misses.wall) / (len(misses.wall) + len(hits.wall)), 4),
            "miss": microseconds(misses.wall),
            "hit": microseconds(hits.wall),
        }

    async def _changes(self, recall: Recall) -> Figures:
        """What a change of one row costs the next recall of its user: the index is loaded anew."""
        watch = Stopwatch()
        for user, text in self._draw(self.plan.misses):
            with watch:
                await recall.recall(replace(user, revision=user.revision + 1), text, k=K)
            await recall.recall(user, text, k=K)
        return microseconds(watch.wall)

    async def _found(self, recall: Recall) -> float:
        """Share of recalls that bring the preference of the request's kind, and nothing else."""
        drawn = self._numbers(1000)
        brought = [await recall.recall(self.population.user(u), self.population.text(u, r), k=K) for u, r in drawn]
        right = [[b.id for b in found] == [f"pref-{r:032x}"] for found, (_, r) in zip(brought, drawn, strict=True)]
        return sum(right) / len(right)

    def _agreement(self, search: shared_index.Search) -> float:
        """Share of a user's true nearest rows that a search brings."""
        right = wanted = 0
        for user, request in self._numbers(100):
            rows, requests = self.population.vectors(user)
            nearest = np.argsort(-(rows @ requests[request]))[:K] + user * self.population.rows
            search.prepare(user, self.population.rows)
            right += len(set(nearest.tolist()) & set(search.rows(user, requests[request][None], K).tolist()))
            wanted += len(nearest)
        return right / wanted

    @contextmanager
    def _memory(self, name: str) -> Iterator[None]:
        before = _resident_mb()
        yield
        self.memory[name] = round(_resident_mb() - before, 1)


async def measure(population: Population, plan: Plan, folder: Path, console: Console) -> dict[str, Any]:
    """The whole benchmark over a new database in ``folder``; what it found, as the JSON that is written."""
    about = machine.about()
    threadpool_limits(1)  # as a server's embedder has it
    file = folder / "recall.db"
    database = CountingDatabase(f"sqlite:///{file}")
    try:
        database.migrate()
        with bar(console, "rows", population.users) as told:
            await asyncio.to_thread(population.fill, database, told)
        await database.scrub()  # the log into the file, so that reads find everything in one place
        found = await Run(population, plan, database, console).measure()
    finally:
        database.close()
    about["versions"] |= {"faiss": faiss.__version__, "numpy": np.__version__}
    about["machine"]["load_average_1m_after"] = machine.load()
    sizes = {
        "users": population.users,
        "rows": population.users * population.rows,
        "dimension": population.dimension,
        "k": K,
    }
    return recall_report.result({**sizes, "database_mb": round(file.stat().st_size / 1e6, 1), **found}, about)


def _resident_mb() -> float:
    """Memory of this process, without what it no longer uses; 0 where the system has no /proc."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 / 1e6 if statm.exists() else 0.0


def recall(
    out: Annotated[Path, typer.Option("--json", help="File for all figures.")] = Path("out/bench-recall.json"),
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 10_000,
    rows: Annotated[int, typer.Option(min=1, help="Rows of all users together.")] = 1_000_000,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the users and of the rows: a rough run.")] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Put the tables into docs/recall.md.")] = False,
) -> None:
    """Measure recall without embedding, beside one shared FAISS index with a filter."""
    if rows % users or rows < users:
        raise typer.BadParameter("must be a multiple of --users", param_hint="--rows")
    population = Population(max(1, users // 10) if quick else users, rows // users)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-recall-") as folder:
        result = uvloop.run(measure(population, QUICK if quick else FULL, Path(folder), console))
    met = "met" if result["goal_met"] else "missed"
    document = recall_report.DOCS if write_docs else None
    report.conclude(result, recall_report.parts(result), [out], document, recall_report.MARK)
    console.print(f"p99 {result['recall_p99_us']} µs, goal {recall_report.GOAL_US} µs: {met}", highlight=False)


if __name__ == "__main__":
    typer.run(recall)
