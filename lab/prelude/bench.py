"""One run of the benchmark from its options: environments, server, chains; what was played lies in the folder's log."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lab.client import Client
from lab.everyday import environment as everyday
from lab.prelude import documents, environment
from lab.prelude.ablation import PARTS
from lab.prelude.access import RETRIES, Access, own_server
from lab.prelude.asking import Asking, general
from lab.prelude.board import Board
from lab.prelude.folder import Folder
from lab.prelude.llm_user import LLMUser
from lab.prelude.memory import Vectors
from lab.prelude.play import Chain
from lab.prelude.ports import Environment
from lab.prelude.roster import ARMS
from lab.prelude.run import MakeEnvironment, Run, plan, played
from lab.provenance import commit
from preference.ports import Embedder
from server.settings import BUNDLED_NAME, Settings
from server.system_role import has_system_role

DOCUMENTS = "documents"
EVERYDAY = everyday.NAME
_MEASURED = (
    "server", "preference", "adapters", "lab/model", "lab/prelude/arms", "lab/prelude/environment.py",
    "lab/prelude/voice.py",
    "lab/prelude/careless.py", "lab/prelude/documents.py", "lab/prelude/llm_user.py", "lab/prelude/memory.py",
    "lab/prelude/play.py", "lab/client.py", "lab/habit.py", "lab/lexicon.py", "lab/merging.py", "lab/render.py",
    "lab/simulated_user.py", "lab/style.py", "lab/world.py", "lab/everyday", "lab/prelude/asking.py",
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
    families: str = "all"

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
    failures: dict[Chain, str]
    stopped: bool
    model: str
    log: Path


async def bench(options: Options, console: Console, embedder: Embedder) -> Outcome:
    """Play what is left of a run. Raises ``ValueError``, ``Refused``, ``NotStarted``, and the server's own errors."""
    chains = plan(options.environments, options.variants, options.arms, options.seeds)
    folder = Folder(options.out)
    async with _environments(options) as made:
        for environment, variant, seed in {(c.environment, c.variant, c.seed) for c in chains}:
            made(Chain(environment, variant, "none", seed))  # whatever is wrong with them is said at once
        model = options.model or os.environ.get("ATTUNE_MODEL") or BUNDLED_NAME
        if options.url is not None:
            model = await _served(options.url, options.key)
        parameters = {
            "rounds": options.rounds,
            "seeds": options.seeds,
            "model": model,
            "commit": await asyncio.to_thread(commit, *_MEASURED),
            "server": options.url or "own",
            "documents": str(options.documents) if options.documents else None,
            "user_model": options.user_model,
            "without": options.without,
            **({"families": options.families} if EVERYDAY in options.environments else {}),
        }
        with folder.opened(parameters, fresh=options.fresh) as id:
            done = {chain: len(lines) for chain, lines in played(folder.log, chains).items()}
            if all(rounds == options.rounds for rounds in done.values()):
                return Outcome(chains, {}, False, model, folder.log)
            async with _access(options, folder, chains, console) as access:
                run = Run(
                    chains, id=id, rounds=options.rounds, concurrency=options.concurrency, access=access,
                    environment=made, vectors=Vectors(embedder), path=folder.log, asking=_asking(options),
                )  # fmt: skip
                with Board(console, options.rounds, done) as board, _stopping(run, board):
                    await run.play(board)
                return Outcome(chains, run.failures, run.stopped, model, folder.log)


@contextlib.asynccontextmanager
async def _environments(options: Options) -> AsyncIterator[MakeEnvironment]:
    user: LLMUser | None = None
    if options.user_url is not None and options.user_model is not None:
        user = LLMUser(options.user_url, options.user_model, options.user_key)

    def make(chain: Chain) -> Environment:
        if chain.environment == DOCUMENTS and options.documents is not None and user is not None:
            return documents.make(options.documents, seed=chain.seed, rounds=options.rounds, user=user)
        if chain.environment == EVERYDAY:
            return everyday.EverydayEnvironment(seed=chain.seed, rounds=options.rounds, families=options.families)
        return environment.make(chain.environment, seed=chain.seed, rounds=options.rounds, variant=chain.variant)

    try:
        yield make
    finally:
        if user is not None:
            await user.close()


@contextlib.asynccontextmanager
async def _access(options: Options, folder: Folder, chains: Sequence[Chain], console: Console) -> AsyncIterator[Access]:
    if options.url is not None:
        yield Access(options.url, options.key)
    else:
        server = own_server(
            folder.server,
            chains,
            options.model,
            console,
            concurrency=options.concurrency,
            without=options.without,
        )
        async with server as access:
            yield access


@contextlib.contextmanager
def _stopping(run: Run, board: Board) -> Iterator[None]:
    """The first Ctrl-C lets rounds end, so that nothing is played twice later; the second one does not."""
    loop = asyncio.get_running_loop()
    signs = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        board.say("Stopping after the rounds under way; once more stops at once.")
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


async def _served(url: str, key: str) -> str:
    client = Client(url, "bench", key=key, retries=RETRIES)
    try:
        await client.connect()
        return client.model
    finally:
        await client.close()
