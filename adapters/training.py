"""The train job: dataset → trainer → validate → gate → publish → activate. A job that runs again starts anew."""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection

import adapters
from adapters import arms, dataset, gate, obedience, progress, serving, versions
from adapters.arms import Arm
from adapters.dataset import Dataset
from adapters.directories import Directories
from adapters.gate import Verdict
from adapters.manifest import Manifest
from adapters.names import engine_name
from adapters.objective import Objective
from adapters.ports import AdapterHost
from adapters.provenance import code_commit, code_version
from adapters.serving import Policy
from adapters.train import FIGURES, SERVING, Recipe, TrainingJob
from adapters.validation import CONFIG, WEIGHTS, base_directory, base_sha256, validate
from adapters.versions import Version
from preference import erasures, feedback, jobs, users
from preference.database import Database
from preference.errors import AttuneError, Conflict, EngineRejected, EngineUnavailable, Invalid, NotFound
from preference.feedback import Edit, Thumb
from preference.jobs import Job
from preference.owner import Owner
from preference.users import User
from preference.worker import to_the_end

log = logging.getLogger(__name__)
_TAIL_BYTES, _TAIL_LINES = 4096, 20
_RAISED = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt)): ")
_TELLING = {"OutOfMemoryError", "MemoryError", "OSError", "FileNotFoundError", "PermissionError", "ImportError",
            "ModuleNotFoundError", "AttributeError"}  # fmt: skip
_GRACE_SECONDS = 5.0
_FOLLOW_SECONDS = 1.0

OnPublished = Callable[[User], Awaitable[object]]
Beginning = Callable[[Owner, int], Awaitable[str | None]]
RunTrainer = Callable[[Path, float], Awaitable[None]]


class TrainingFailed(AttuneError):
    """The trainer stopped with an error, or took too long; the log has its last lines."""

    code = "training_failed"


async def run_trainer(directory: Path, seconds: float) -> None:
    """Run ``python -m adapters.train`` on a directory; raises as ``run_command``."""
    await run_command([sys.executable, "-P", "-m", "adapters.train", str(directory)], directory, seconds)


async def run_command(command: Sequence[str], directory: Path, seconds: float) -> None:
    """Run a command in its own process group, which ends with this call, also when it is cancelled.

    What it prints stands in ``directory``. Raises ``TrainingFailed`` when it fails, whose last lines of stderr are
    logged, or takes longer than ``seconds``.
    """
    # The package's own folder first: another package of that name must not be found instead.
    path = [str(Path(adapters.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ATTUNE_")},
        "PYTHONPATH": os.pathsep.join(path),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(directory / "cache"),
    }
    errors = directory / "trainer.log"
    with errors.open("wb") as log_file, (directory / progress.FILE).open("wb") as printed:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=printed,
            stderr=log_file,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
    except TimeoutError as error:
        raise TrainingFailed(f"the trainer took longer than {seconds:.0f} s") from error
    finally:
        await asyncio.shield(_end_group(process))
    if code:
        said = errors.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        log.error("the trainer failed with status %d: %s", code, " | ".join(_told(said)[-_TAIL_LINES:]))
        raise TrainingFailed(f"the trainer failed with status {code}; the server's log says why")


def _told(said: str) -> list[str]:
    """The lines of a traceback that speak of code and of the machine; any other may quote a user's text."""
    lines = []
    for line in said.splitlines():
        raised = _RAISED.match(line)
        if line.startswith('  File "'):
            lines.append(line.strip())
        elif raised:
            lines.append(line if raised[1].rpartition(".")[2] in _TELLING else raised[1])
    return lines


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End a process and its children: politely, then not."""
    for number, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(patience):
                await process.wait()
        except TimeoutError:
            continue


class Training:
    """Handler of ``train`` jobs, whose subject is a version number.

    ``objectives`` are those of tenants that have one of their own; ``recipe`` has the others' and all else.
    ``base_model`` is the served model: a directory, or a hub name that is already downloaded. The trainer is a
    process of its own and may take ``seconds``. ``beginning`` names the cohort, if any, that a user's first version
    begins from. ``policy`` says how an admitted version begins to serve, and ``on_published`` is told when one does;
    ``commit`` is the code's, where git cannot tell it. Pass ``on_failed`` to the worker, so that a version whose job is
    given up says so.
    """

    kind = "train"

    def __init__(
        self,
        database: Database,
        host: AdapterHost,
        directories: Directories,
        *,
        base_model: str,
        recipe: Recipe | None = None,
        objectives: Mapping[str, Objective] | None = None,
        seconds: float = 3600.0,
        system_role: bool = True,
        on_published: OnPublished | None = None,
        run_trainer: RunTrainer = run_trainer,
        beginning: Beginning | None = None,
        policy: Policy | None = None,
        commit: str | None = None,
    ) -> None:
        self._database = database
        self._host = host
        self._directories = directories
        self._base_model = base_model
        self._recipe = recipe or Recipe()
        self._objectives = objectives or {}
        self._seconds = seconds
        self._system_role = system_role
        self._on_published = on_published
        self._run_trainer = run_trainer
        self._beginning = beginning
        self._policy = policy or Policy()
        self._commit = commit
        self._making: dict[str, asyncio.Task[Any]] = {}
        self._gating = asyncio.Lock()  # the engine has room for one candidate beside those that serve

    async def __call__(self, job: Job) -> None:
        """Make the version. Raises ``EngineUnavailable``, ``TrainingFailed``, ``Invalid``, ``LostLease``."""
        number = int(job.subject)
        begun = await self._database.write(_begin, job, number, self._objective(job.owner).learns_from_thumbs)
        if begun is None:
            # Who made it may have been killed after the commit, before it could tidy up.
            if (user := await self._database.read(users.get, job.owner)) is not None:
                await asyncio.to_thread(self._directories.clear_stage, user.opaque_id, number)
            return
        user, serving, edits, thumbs = begun
        task = cast(asyncio.Task[Any], asyncio.current_task())
        self._making[user.opaque_id] = task
        try:
            await self._train(job, number, user, serving, edits, thumbs)
        finally:
            if self._making.get(user.opaque_id) is task:
                del self._making[user.opaque_id]

    async def _train(
        self, job: Job, number: int, user: User, serving: Version | None, edits: list[Edit], thumbs: list[Thumb]
    ) -> None:
        # What killed workers left of it: its row never became ready, and nobody publishes while we hold the job.
        await asyncio.to_thread(self._directories.clear, user.opaque_id, number)
        try:
            made = dataset.build(edits, thumbs, seed=self._recipe.seed, system_role=self._system_role)
        except dataset.TooFewEdits as error:
            refusal = {"verdict": "refused", "sentence": f"refused: {error.message}"}
            await self._refuse(job, number, {**dataset.told(error.edits), **refusal})
            return
        stage = await asyncio.to_thread(self._directories.stage, user.opaque_id, number)
        try:
            # Asked once the stage is there: who is erased from now on has it removed with everything else.
            if await self._database.read(erasures.among, {user.opaque_id}):
                raise jobs.LostLease(f"the user of job {job.id} was erased")
            published = await self._make(job, number, user, serving, made, stage)
        except (EngineUnavailable, jobs.LostLease):
            raise  # the version stays in training: the job goes on later, here or elsewhere
        except Exception as error:
            with suppress(NotFound, jobs.LostLease):
                reason = error.message if isinstance(error, AttuneError) else None
                await self._database.write(_end, job, number, "failed", _failure(reason))
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)
        if published is not None and self._on_published is not None:
            try:
                await self._on_published(published)
            except AttuneError as error:
                log.warning("adapter %s is published, not yet active: %s", number, error.message)

    async def stop(self, opaque_id: str) -> None:
        """End the training of a user who is erased, or cancels it, if it runs here; returns when its files are gone."""
        making = self._making.get(opaque_id)
        if making is not None:
            making.cancel()
            await asyncio.wait((making,))

    async def on_failed(self, job: Job, reason: str | None) -> None:
        """The worker gave the job up: the version has failed. Without a ``reason``, the log alone says why."""
        number = int(job.subject)
        with suppress(NotFound):
            user = await self._database.write(_end, job, number, "failed", _failure(reason))
            if user is not None:
                await asyncio.to_thread(self._directories.clear, user.opaque_id, number)

    async def _make(
        self, job: Job, number: int, user: User, serving: Version | None, made: Dataset, stage: Path
    ) -> User | None:
        base = await asyncio.to_thread(base_directory, self._base_model)
        objective = self._objective(job.owner)
        recipe = replace(self._recipe, objective=objective)
        cohort = None
        if self._beginning is not None and not await self._database.read(versions.learned_through, job.owner):
            cohort = await self._beginning(job.owner, number)
        if cohort is not None:
            await asyncio.to_thread(self._copy_start, cohort, 1, base, recipe, stage / SERVING)
            if (stage / SERVING).exists():
                recipe = replace(recipe, objective=replace(objective, continued=True))
        TrainingJob(str(base), recipe).write(stage)
        if objective.continued and serving is not None:
            await asyncio.to_thread(self._copy_start, user.opaque_id, serving.version, base, recipe, stage / SERVING)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows)
        await asyncio.to_thread((stage / "train.jsonl").write_text, lines, encoding="utf-8")
        async with self._noted(job, number, stage):
            await self._run_trainer(stage, self._seconds)
        adapter = stage / "adapter"
        await asyncio.to_thread(validate, adapter, base, recipe)
        async with self._gating:
            verdict = await self._gate(user, number, serving, made, adapter)
        figures = json.loads((stage / FIGURES).read_text())
        thumbs = made.thumbs if figures["recipe"] == objective.name else []  # else it gave way to SFT
        report = {**verdict.report, "training": {**figures, "edits": len(made.learned_from), "thumbs": len(thumbs)}}
        if not verdict.admitted:
            await self._refuse(job, number, report)
            return None
        taught = [*made.learned_from, *thumbs]
        learned_from: frozenset[str] | None = frozenset(taught)
        if (stage / SERVING).exists() and serving is not None:  # what it learned is in these weights, too
            before = (await self._database.read(versions.learned_from, job.owner)).get(serving.version)
            learned_from = None if before is None else frozenset(taught) | before
        commit = await asyncio.to_thread(code_commit) if self._commit is None else self._commit
        manifest = Manifest(
            version=number,
            learned_from=[*taught, *sorted((learned_from or frozenset()).difference(taught))],
            base_sha256=await asyncio.to_thread(base_sha256, base),
            recipe=asdict(recipe),
            figures=figures,
            report=report,
            created_at=time.time(),
            code=code_version(),
            commit=commit,
        )
        await asyncio.to_thread(self._directories.upload, adapter, user.opaque_id, number)
        # To its end: the stage is removed after us, and must not be while its files are moved into their place.
        return await to_the_end(
            self._database.write(
                _publish,
                job,
                user.opaque_id,
                self._directories,
                adapter,
                manifest,
                verdict.mode,
                made.learned_through,
                learned_from,
                self._policy,
            )
        )

    def _objective(self, owner: Owner) -> Objective:
        return self._objectives.get(owner.tenant, self._recipe.objective)

    def _copy_start(self, opaque_id: str, version: int, base: Path, recipe: Recipe, into: Path) -> None:
        """A version for the trainer to go on from; nothing where it is gone, or of another base or shape."""
        try:
            manifest = self._directories.verified(opaque_id, version)
            if manifest.base_sha256 == base_sha256(base):
                into.mkdir()
                for name in (CONFIG, WEIGHTS):
                    shutil.copy(self._directories.path(opaque_id, version) / name, into)
                validate(into, base, recipe)
        except (NotFound, Invalid, OSError) as error:
            log.warning("training does not go on from %s: %s", engine_name(opaque_id, version), error)
            shutil.rmtree(into, ignore_errors=True)

    @asynccontextmanager
    async def _noted(self, job: Job, number: int, stage: Path) -> AsyncIterator[None]:
        """The steps of the trainer that runs meanwhile are noted on the version; at its end, that it has ended."""
        following = asyncio.create_task(self._follow(job, number, stage))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        steps = await asyncio.to_thread(progress.read, stage)
        await self._database.write(_note, job, number, {"progress": steps, "trained_at": time.time()})

    async def _follow(self, job: Job, number: int, stage: Path) -> None:
        """Note new steps, until cancelled."""
        noted: list[dict[str, Any]] = []
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            steps = await asyncio.to_thread(progress.read, stage)
            if steps != noted:
                await self._database.write(_note, job, number, {"progress": steps})
                noted = steps

    async def _gate(self, user: User, number: int, serving: Version | None, made: Dataset, adapter: Path) -> Verdict:
        """Candidate against what serves now, both under names that no request uses; then whether it still obeys.

        Raises ``TrainingFailed`` when it takes longer than training may.
        """
        candidate = f"{engine_name(user.opaque_id, number)}-candidate"
        loads, now = {candidate: adapter}, Arm(gate.SERVING, None, preferences=True)
        if serving is not None:
            incumbent = f"{engine_name(user.opaque_id, serving.version)}-serving"
            loads[incumbent] = await self._local(user, serving)
            alone = serving.mode == "adapter"
            now = Arm(gate.SERVING, incumbent, not alone, recorded_by=serving.version if alone else None)
        compared = [
            Arm("base", None, preferences=False),
            Arm("retrieval", None, preferences=True),
            now,
            Arm("adapter", candidate, preferences=False),
            Arm("retrieval+adapter", candidate, preferences=True),
        ]
        started = time.monotonic()
        async with self._loaded(loads):
            try:
                async with asyncio.timeout(self._seconds):
                    measured = await arms.measure(self._host, made.held_out, compared)
                    verdict = gate.decide(measured, seed=self._recipe.seed)
                    if verdict.admitted:
                        regression = obedience.items(made.held_out)
                        kept = await obedience.examine(self._host, candidate, regression)
                        rows = {one.kind: obedience.judge(one, seed=self._recipe.seed) for one in kept}
                        verdict = gate.confirm(verdict, rows)
            except EngineRejected as error:
                if not loads.keys() <= await self._host.loaded():
                    raise EngineUnavailable("the engine restarted while an adapter was being measured") from error
                raise
            except TimeoutError as error:
                raise TrainingFailed(f"the gate took longer than {self._seconds:.0f} s") from error
        return replace(verdict, report={**verdict.report, "gate_seconds": round(time.monotonic() - started, 2)})

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
                await self._host.unload(name)  # what a killed worker left there has older weights
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

    async def _refuse(self, job: Job, number: int, report: dict[str, Any]) -> None:
        with suppress(NotFound):
            await self._database.write(_end, job, number, "refused", report)


def _begin(
    c: Connection, job: Job, number: int, with_thumbs: bool
) -> tuple[User, Version | None, list[Edit], list[Thumb]] | None:
    """Take the version up: the user, what serves now, the edits, and the thumbs; None when nothing is left to do."""
    jobs.hold(c, job)
    users.lock(c, job.owner)  # an edit that is being erased is not read any more
    user = users.get(c, job.owner)
    if user is None or versions.get(c, job.owner, number).state not in ("queued", "training", "failed"):
        return None
    versions.set_state(c, job.owner, number, "training", report={"training": {"started_at": time.time()}})
    edits = feedback.edits(c, job.owner, limit=dataset.MAX_EDITS)
    thumbs = feedback.thumbs(c, job.owner, limit=dataset.MAX_THUMBS) if with_thumbs else []
    return user, serving.incumbent(c, job.owner), edits, thumbs


def _note(c: Connection, job: Job, number: int, noted: dict[str, Any]) -> None:
    """Keep with the version how far it is."""
    jobs.hold(c, job)
    made = versions.get(c, job.owner, number)
    if made.state == "training":
        report = {"training": {**made.report.get("training", {}), **noted}}
        versions.set_state(c, job.owner, number, "training", report=report)


def _end(c: Connection, job: Job, number: int, state: versions.State, report: dict[str, Any]) -> User | None:
    """Store how it ended; None where that was known: a worker can die between a publication and its job's end."""
    jobs.hold(c, job)
    made = versions.get(c, job.owner, number)
    if made.state in ("ready", "refused"):
        return None
    versions.set_state(c, job.owner, number, state, report=versions.ended(made, report))
    serving.settle(c, job.owner)
    return users.get(c, job.owner)


def _publish(
    c: Connection,
    job: Job,
    opaque_id: str,
    directories: Directories,
    adapter: Path,
    manifest: Manifest,
    mode: str,
    learned_through: float,
    learned_from: frozenset[str] | None,
    policy: Policy,
) -> User:
    """Directory, row and what serves in one transaction, under the user's lock: an erased user gets nothing."""
    jobs.hold(c, job)
    user = versions.lock_user(c, job.owner)
    if user.opaque_id != opaque_id:
        raise NotFound("there is no such user", param="user")
    number = manifest.version
    made = versions.get(c, job.owner, number)
    if made.state != "training":
        raise Conflict(f"adapter version {number} was changed while it was being made", param="version")
    report = versions.ended(made, manifest.report)
    versions.set_state(
        c, job.owner, number, "ready", mode=mode, learned_through=learned_through, learned_from=learned_from,
        report=report,
    )  # fmt: skip
    serving.settle(c, job.owner)
    serving.admit(c, job.owner, number, policy)
    directories.publish(adapter, opaque_id, manifest)
    return versions.lock_user(c, job.owner)


def _failure(reason: str | None) -> dict[str, Any]:
    sentence = "training failed; the server's log says why" if reason is None else f"failed: {reason}"
    return {"verdict": "failed", "sentence": sentence}
