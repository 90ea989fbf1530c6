"""One run of the benchmark from its options: environments, server, chains; what was played lies in the folder."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lab.client import Client
from lab.everyday import environment as everyday
from lab.prelude import documents, environment, log
from lab.prelude.ablation import PARTS
from lab.prelude.asking import Asking, general
from lab.prelude.catalog import ARMS, plan
from lab.prelude.llm_user import LLMUser
from lab.prelude.log import Chain, Line
from lab.prelude.memory import Vectors
from lab.prelude.ports import Environment
from lab.prelude.run import RETRIES, MakeEnvironment, Run
from lab.prelude.server import own_server
from lab.progress import progress
from lab.provenance import commit
from lab.work import Work, clear, only_run
from preference.ports import Embedder
from server.engine.system_role import has_system_role
from server.settings import BUNDLED_NAME, Settings

WORK, SERVER = "rounds.jsonl", "server"
"""What lies in a run's folder beside its figures."""
_NO_KEYS: Mapping[str, str] = {}
DOCUMENTS = "documents"
EVERYDAY = everyday.NAME
_MEASURED = (
    "server", "preference", "store", "adapters", "lab/model", "lab/prelude/arms", "lab/prelude/asking.py",
    "lab/prelude/careless.py", "lab/prelude/documents.py", "lab/prelude/environment.py", "lab/prelude/llm_user.py",
    "lab/prelude/memory.py", "lab/prelude/trial.py", "lab/prelude/voice.py", "lab/everyday", "lab/client.py",
    "lab/edits/score.py", "lab/habit.py", "lab/inferring.py", "lab/lexicon.py", "lab/lexicon.toml", "lab/merging.py",
    "lab/render.py", "lab/simulated_user.py", "lab/style.py", "lab/world.py",
)  # fmt: skip
"""What figures come from: a run that has begun does not go on once these have changed."""


@dataclass(frozen=True)
class Options:
    """What was asked for, with every default in place. Without ``arms`` all play, and few the harder variants."""

    environments: Sequence[str]
    variants: Sequence[str]
    arms: Sequence[str] | None
    rounds: int
    seeds: int
    out: Path
    concurrency: int = 24
    fresh: bool = False
    model: str | None = None
    documents: Path | None = None
    user_url: str | None = None
    user_model: str | None = None
    user_key: str = "none"
    url: str | None = None
    key: str = "none"
    without: str | None = None

    def check(self) -> None:
        """Raise ``ValueError`` for what cannot be played."""
        unknown = [arm for arm in self.arms or () if arm not in ARMS]
        if unknown:
            raise ValueError(f"There is no arm {unknown[0]!r}: {', '.join(ARMS)}.")
        if (DOCUMENTS in self.environments) != (self.documents is not None):
            raise ValueError("The environment documents needs --documents, and that needs the environment.")
        if self.documents is not None and (self.user_url is None or self.user_model is None):
            raise ValueError("Documents need a user who reads them: --user-url and --user-model.")
        if self.documents is not None and set(self.variants) != {"plain"}:
            raise ValueError("Documents have the plain variant only.")
        if self.without is not None and self.url is not None:
            raise ValueError("--without is for a server that is started; one at --url has all of its parts.")
        if self.without is not None and self.without not in PARTS:
            raise ValueError(f"There is no part {self.without!r} to leave out: {', '.join(PARTS)}.")
        if EVERYDAY in self.environments and (len(set(self.environments)) > 1 or set(self.variants) != {"plain"}):
            raise ValueError("The everyday world is one environment, in the plain variant only.")
        if self.model is not None and self.url is not None:
            raise ValueError("--model is for a server that is started; one at --url has its own.")


@dataclass(frozen=True)
class Outcome:
    """What came of a run. ``stopped``: it was told to stop before its end."""

    chains: Sequence[Chain]
    lines: Sequence[Line]
    failures: Mapping[Chain, str]
    stopped: bool
    model: str


async def bench(options: Options, console: Console, embedder: Embedder) -> Outcome:
    """Play what is left. Raises ``ValueError``, ``NotThisRun``, ``ServerFailed``, and the server's own errors."""
    chains = plan(options.environments, options.variants, options.arms, options.seeds)
    async with contextlib.AsyncExitStack() as stack:
        user: LLMUser | None = None
        if options.user_url is not None and options.user_model is not None:
            user = LLMUser(options.user_url, options.user_model, options.user_key)
            stack.push_async_callback(user.close)
        made = _environments(options, user)
        for environment, variant, seed in {(c.environment, c.variant, c.seed) for c in chains}:
            made(Chain(environment, variant, "none", seed))  # whatever is wrong with them is said at once
        model = options.model or os.environ.get("ATTUNE_MODEL") or BUNDLED_NAME
        if options.url is not None:
            async with Client(options.url, "bench", key=options.key, retries=RETRIES) as client:
                model = client.model
        stack.enter_context(only_run(options.out))
        if options.fresh:
            clear(options.out, WORK, SERVER)
        work = Work(options.out / WORK, anew="--fresh begins anew, --out takes another folder")
        id = work.begin(
            rounds=options.rounds, seeds=options.seeds, model=model,
            commit=await asyncio.to_thread(commit, *_MEASURED), server=options.url or "own",
            documents=str(options.documents) if options.documents else None, user_model=options.user_model,
            without=options.without,
        )  # fmt: skip
        played = log.played(work)
        if all(len(played.get(chain, ())) == options.rounds for chain in chains):
            return Outcome(chains, log.read(work), {}, False, model)
        base, keys = options.url or "", _NO_KEYS
        if not base:
            server = own_server(
                options.out / SERVER, chains, options.model, console, concurrency=options.concurrency,
                without=options.without,
            )  # fmt: skip
            base, keys = await stack.enter_async_context(server)
        run = Run(
            chains, work, id=id, rounds=options.rounds, concurrency=options.concurrency, base=base, keys=keys,
            key=options.key, environment=made, vectors=Vectors(embedder), asking=_asking(options),
        )  # fmt: skip
        with progress(console) as bars, _stopping(run, bars):
            await run.play(bars)
        return Outcome(chains, log.read(work), run.failures, run.stopped, model)


def _environments(options: Options, user: LLMUser | None) -> MakeEnvironment:
    def make(chain: Chain) -> Environment:
        if chain.environment == DOCUMENTS and options.documents is not None and user is not None:
            return documents.make(options.documents, seed=chain.seed, rounds=options.rounds, user=user)
        if chain.environment == EVERYDAY:
            return everyday.EverydayEnvironment(seed=chain.seed, rounds=options.rounds)
        return environment.make(chain.environment, seed=chain.seed, rounds=options.rounds, variant=chain.variant)

    return make


@contextlib.contextmanager
def _stopping(run: Run, bars: Progress) -> Iterator[None]:
    """The first Ctrl-C lets rounds end, so that nothing is played twice later; the second one does not."""
    loop = asyncio.get_running_loop()
    signs = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        bars.console.print("Stopping after the rounds under way; once more stops at once.")
        run.stop()
        for sign in signs:
            loop.remove_signal_handler(sign)

    for sign in signs:
        loop.add_signal_handler(sign, stop)
    try:
        yield
    finally:
        for sign in signs:
            loop.remove_signal_handler(sign)


def _asking(options: Options) -> Asking:
    """Everyday requests are for models that follow instructions, whose template may have no system role."""
    if EVERYDAY not in options.environments:
        return Asking()
    return general(options.url is not None or has_system_role(Settings(model=options.model)))
