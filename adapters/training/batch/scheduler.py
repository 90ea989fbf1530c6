"""Trainings that go together: one program at a time, for as many of those that wait as its recipe can mix."""

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.training.allowance import Allowance
from adapters.training.batch import trainer
from adapters.training.process import RunTrainer, run_command, run_trainer
from adapters.training.trainer import FIGURES, TrainingJob

RunBatched = Callable[[Sequence[Path], float], Awaitable[None]]

log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


async def run_batched(directories: Sequence[Path], seconds: float) -> None:
    """Run ``batch/trainer.py`` on the directories, which have one parent; raises as ``run_command``."""
    apart = Path(tempfile.mkdtemp(prefix="together.", dir=directories[0].parent))  # outlives each of them
    try:
        command = [sys.executable, "-P", "-m", "adapters.training.batch.trainer", *map(str, directories)]
        await run_command(command, apart, seconds)
    finally:
        await asyncio.to_thread(shutil.rmtree, apart, ignore_errors=True)


@dataclass(eq=False)
class _Asked:
    """A directory to train, in so many seconds; whoever asked waits for ``outcome``, or has cancelled it."""

    directory: Path
    seconds: float
    job: TrainingJob
    outcome: asyncio.Future[None]


class BatchScheduler:
    """A ``RunTrainer`` for many callers at a time: up to ``at_once`` of them share a run of ``many``, if it mixes them.

    Each caller goes on as soon as its own directory is trained. A cancelled caller leaves the run, and the last one to
    leave ends the program. Users whom ``many`` leaves untrained, because it failed or because their model or data are
    not for it, are trained one by one by ``alone``, whose error is then theirs; without ``many``, all are. A worker
    that asks ``ready`` before it takes a job gathers callers while no program runs; the first one waits until nobody
    came for ``settle_seconds``.
    """

    def __init__(
        self,
        *,
        alone: RunTrainer = run_trainer,
        many: RunBatched | None = run_batched,
        at_once: int = 16,
        allowance: Allowance | None = None,
        settle_seconds: float = 1.0,
    ) -> None:
        self._alone = alone
        self._many = many
        self._at_once = at_once if many is not None else 1
        self._allowance = allowance or Allowance()
        self._settle_seconds = settle_seconds
        self._waiting: list[_Asked] = []
        self._arrived = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._group: list[_Asked] = []  # whom the program trains
        self._program: asyncio.Future[None] | None = None

    @property
    def jobs_at_once(self) -> int:
        """Jobs that a worker may hold: those of a program, and as many before or after theirs."""
        return 2 * self._at_once

    def ready(self) -> bool:
        """Whether one more may come: no program runs, the next has room, and it is the time for training."""
        return self._program is None and len(self._waiting) < self._at_once and self._allowance.open()

    async def __call__(self, directory: Path, seconds: float) -> None:
        """Train a directory as ``run_trainer`` does. Raises ``TrainingFailed``."""
        asked = _Asked(directory, seconds, TrainingJob.read(directory), asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._arrived.set()
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        try:
            await asked.outcome
        except asyncio.CancelledError:
            if asked in self._waiting:
                self._waiting.remove(asked)
            # Nothing goes on behind the back of the last one who is cancelled.
            program = self._program
            if program is not None and asked in self._group and all(one.outcome.done() for one in self._group):
                program.cancel()
                await asyncio.wait((program,))
            raise

    async def _serve(self) -> None:
        """Train group after group, until nobody waits."""
        try:
            while self._waiting:
                await self._settle()
                group = self._gathered()
                if self._many is not None and group and trainer.mixable(group[0].job, group[0].job):
                    seconds = sum(one.seconds for one in group)
                    await self._run(group, self._many([one.directory for one in group], seconds), last=False)
                for one in group:
                    if not one.outcome.done():
                        await self._run([one], self._alone(one.directory, one.seconds), last=True)
        finally:
            self._serving = None

    async def _settle(self) -> None:
        """Return when a group is full, or nobody came for a while."""
        while self._many is not None and len(self._waiting) < self._at_once:
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._settle_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _gathered(self) -> list[_Asked]:
        """Take the first who waits, and those who can share a program with it."""
        first, others = self._waiting[:1], self._waiting[1:]
        alike = [other for other in others if trainer.mixable(first[0].job, other.job)]
        group = first + alike[: self._at_once - 1]
        self._waiting = [one for one in self._waiting if one not in group]
        return group

    async def _run(self, group: list[_Asked], work: Awaitable[None], *, last: bool) -> None:
        """Run a program for as long as somebody waits for it. What it ends with is their outcome if it is the last."""
        started = time.monotonic()
        self._group = group
        program = self._program = asyncio.ensure_future(work)
        while not program.done() and any(not one.outcome.done() for one in group):
            outcomes = (one.outcome for one in group if not one.outcome.done())
            await asyncio.wait((program, *outcomes), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not last:
                self._let_go(group)
        program.cancel()
        (error,) = await asyncio.gather(program, return_exceptions=True)
        self._program = None
        self._allowance.spend(time.monotonic() - started)
        if not last:
            self._let_go(group)
            if error is not None and any(not one.outcome.done() for one in group):
                log.warning("a training of %d at once failed, so each goes alone: %s", len(group), error)
        elif not group[0].outcome.done():
            if isinstance(error, BaseException):
                group[0].outcome.set_exception(error)
            else:
                group[0].outcome.set_result(None)

    def _let_go(self, group: Sequence[_Asked]) -> None:
        """Tell those whose directories are trained."""
        for one in group:
            if not one.outcome.done() and (one.directory / FIGURES).exists():
                one.outcome.set_result(None)
