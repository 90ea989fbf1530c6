"""A candidate in the engine beside what serves: measured there, and judged by the gate."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import content_of, digests
from adapters.artifacts.names import gate_name
from adapters.dataset import HeldOut
from adapters.errors import TrainingFailed
from adapters.evaluation import arms, gate, gate_report, instruction_following
from adapters.evaluation.arms import Arm
from adapters.evaluation.gate_report import GateReport
from adapters.lifecycle.versions import Version
from adapters.ports import AdapterHost
from store.errors import AttuneError, EngineRejected, EngineUnavailable, NotFound
from store.users import User

log = logging.getLogger(__name__)


class Evaluator:
    """Judges candidates, one at a time, in ``seconds`` each; ``seed`` is that of the resampling."""

    def __init__(self, host: AdapterHost, directories: Directories, *, seconds: float, seed: int) -> None:
        self._host = host
        self._directories = directories
        self._seconds = seconds
        self._seed = seed
        self._one = asyncio.Lock()  # the engine has room for one candidate beside those that serve

    async def judge(
        self, user: User, number: int, serving: Version | None, adapter: Path, held_out: Sequence[HeldOut]
    ) -> GateReport:
        """Candidate against what serves now, both under names that no request uses; then whether it still obeys.

        Raises ``TrainingFailed`` when it takes longer than it may, ``EngineUnavailable``, ``EngineRejected``.
        """
        async with self._one:
            return await self._judge(user, number, serving, adapter, held_out)

    async def _judge(
        self, user: User, number: int, serving: Version | None, adapter: Path, held_out: Sequence[HeldOut]
    ) -> GateReport:
        content = content_of(await asyncio.to_thread(digests, adapter))
        candidate = gate_name(user.opaque_id, number, "candidate", content)
        loads, now = {candidate: adapter}, Arm(gate_report.INCUMBENT, None, preferences=True)
        if serving is not None:
            incumbent = gate_name(user.opaque_id, serving.version, "serving")
            loads[incumbent] = await self._local(user, serving)
            alone = serving.mode == gate_report.ALONE
            now = Arm(gate_report.INCUMBENT, incumbent, not alone, recorded_by=serving.version if alone else None)
        compared = [
            Arm(gate_report.BASE, None, preferences=False),
            Arm(gate_report.RETRIEVAL, None, preferences=True),
            now,
            Arm(gate_report.ALONE, candidate, preferences=False),
            Arm(gate_report.BESIDE, candidate, preferences=True),
        ]
        started = time.monotonic()
        async with self._loaded(loads):
            try:
                async with asyncio.timeout(self._seconds):
                    measured = await arms.measure(self._host, held_out, compared)
                    report = gate.decide(measured, seed=self._seed)
                    if report.admitted:
                        regression = instruction_following.items(held_out)
                        kept = await instruction_following.examine(self._host, candidate, regression)
                        rows = {one.kind: instruction_following.judge(one, seed=self._seed) for one in kept}
                        report = gate.confirm(report, rows)
            except EngineRejected as error:
                if not loads.keys() <= await self._host.loaded():
                    raise EngineUnavailable("the engine restarted while an adapter was being measured") from error
                raise
            except TimeoutError as error:
                raise TrainingFailed(f"the gate took longer than {self._seconds:.0f} s") from error
        return replace(report, gate_seconds=round(time.monotonic() - started, 2))

    async def _local(self, user: User, serving: Version) -> Path:
        """Where the serving version lies on this disk. Raises ``EngineUnavailable`` when the user deleted it."""
        try:
            return await asyncio.to_thread(self._directories.local, user.opaque_id, serving.version)
        except NotFound as error:
            raise EngineUnavailable(f"adapter version {serving.version} was deleted before it was measured") from error

    @asynccontextmanager
    async def _loaded(self, adapters_by_name: dict[str, Path]) -> AsyncIterator[None]:
        """Adapters in the engine for the duration; unloaded whatever happens."""
        try:
            for name, path in adapters_by_name.items():
                await self._host.unload(name)  # what a killed worker left there is of a folder that is gone
                try:
                    await self._host.load(name, path)
                except EngineRejected as error:
                    if await asyncio.to_thread(path.exists):
                        raise
                    # The user deleted what served: the job starts anew against what serves then.
                    raise EngineUnavailable(f"adapter {name} was deleted before it could be measured") from error
            yield
        finally:
            for name in adapters_by_name:
                try:
                    await asyncio.shield(self._host.unload(name))
                except AttuneError as error:
                    log.warning("adapter %s could not be unloaded: %s", name, error.message)
