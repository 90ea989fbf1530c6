"""The train job: dataset → trainer → validate → gate → publish → activate. A job that runs again starts anew."""

import asyncio
import json
import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from adapters import dataset
from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.names import engine_name
from adapters.artifacts.validation import CONFIG, WEIGHTS, base_directory, base_sha256, fitted, validate
from adapters.dataset import Dataset
from adapters.evaluation.evaluator import Evaluator
from adapters.lifecycle import runs, versions
from adapters.lifecycle.activation import Policy
from adapters.lifecycle.runs import Begun, Ended, Made
from adapters.lifecycle.versions import Version
from adapters.objective import Objective
from adapters.ports import AdapterHost
from adapters.provenance import code_commit, code_version
from adapters.recipe import Recipe
from adapters.training import progress
from adapters.training.process import RunTrainer, run_trainer
from adapters.training.trainer import FIGURES, PARENT, TrainingJob
from store import erasures, jobs, users
from store.database import Database
from store.errors import AttuneError, EngineUnavailable, Invalid, NotFound
from store.jobs import Job
from store.owner import Owner
from store.users import User
from store.worker import to_the_end

log = logging.getLogger(__name__)
_NOTE_SECONDS = 1.0

Follow = Callable[[User], Awaitable[object]]
Beginning = Callable[[Owner, int], Awaitable[str | None]]


class Training:
    """Handler of ``train`` jobs, whose subject is a version number.

    ``objectives`` are those of tenants that have one of their own; ``recipe`` has the others' and all else.
    ``base_model`` is the served model: a directory, or a hub name that is already downloaded. The trainer is a
    process of its own and may take ``seconds``. ``beginning`` names the cohort, if any, that a user's first version
    begins from. ``policy`` says how an admitted version begins to serve, and ``follow`` lets it: it is called where the
    rows say that another one serves. ``commit`` is the code's, where git cannot tell it. Pass ``on_failed`` to the
    worker, so that a version whose job is given up says so.
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
        follow: Follow | None = None,
        run_trainer: RunTrainer = run_trainer,
        beginning: Beginning | None = None,
        policy: Policy | None = None,
        commit: str | None = None,
    ) -> None:
        self._database = database
        self._directories = directories
        self._base_model = base_model
        self._recipe = recipe or Recipe()
        self._objectives = objectives or {}
        self._seconds = seconds
        self._system_role = system_role
        self._follow = follow
        self._run_trainer = run_trainer
        self._beginning = beginning
        self._policy = policy or Policy()
        self._commit = commit
        self._evaluator = Evaluator(host, directories, seconds=seconds, seed=self._recipe.seed)
        self._making: dict[str, asyncio.Task[Any]] = {}

    async def __call__(self, job: Job) -> None:
        """Make the version. Raises ``EngineUnavailable``, ``TrainingFailed``, ``Invalid``, ``LostLease``."""
        number = int(job.subject)
        begun = await self._database.write(runs.begin, job, number, self._objective(job.owner))
        if begun is None:
            # Its maker may have been killed after the commit, before it could tidy up.
            if (user := await self._database.read(users.get, job.owner)) is not None:
                await asyncio.to_thread(self._directories.clear_stage, user.opaque_id, number)
            return
        opaque_id = begun.user.opaque_id
        task = cast(asyncio.Task[Any], asyncio.current_task())
        self._making[opaque_id] = task
        try:
            await self._train(job, number, begun)
        finally:
            if self._making.get(opaque_id) is task:
                del self._making[opaque_id]

    async def _train(self, job: Job, number: int, begun: Begun) -> None:
        user, learned = begun.user, (begun.edits, begun.thumbs, begun.rankings)
        # What killed workers left of it: its row never became ready, and nobody publishes while we hold the job.
        await asyncio.to_thread(self._directories.clear, user.opaque_id, number)
        try:
            made = dataset.build(*learned, seed=self._recipe.seed, system_role=self._system_role)
        except dataset.TooFewEdits as error:
            refusal = {"verdict": "refused", "sentence": f"refused: {error.message}"}
            await self._refuse(job, number, {**dataset.told(error.edits), **refusal})
            return
        stage = await asyncio.to_thread(self._directories.stage, user.opaque_id, number)
        try:
            # Asked once the stage is there: who is erased from now on has it removed with everything else.
            if await self._database.read(erasures.among, {user.opaque_id}):
                raise jobs.LostLease(f"the user of job {job.id} was erased")
            published = await self._make(job, number, user, begun.serving, made, stage)
        except (EngineUnavailable, jobs.LostLease):
            raise  # the version stays in training: the job goes on later, here or elsewhere
        except Exception as error:
            with suppress(NotFound, jobs.LostLease):
                reason = error.message if isinstance(error, AttuneError) else None
                await self._ended(await self._database.write(runs.fail, job, number, reason))
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)
        if published is not None:
            await self._ended(Ended(published, True))

    async def stop(self, opaque_id: str) -> None:
        """End the training of a user who is erased, or cancels it, if it runs here; returns when its files are gone."""
        task = self._making.get(opaque_id)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def on_failed(self, job: Job, reason: str | None) -> None:
        """The worker gave the job up: the version has failed. Without a ``reason``, the log alone says why."""
        number = int(job.subject)
        with suppress(NotFound):
            ended = await self._database.write(runs.fail, job, number, reason)
            if ended is not None:
                await asyncio.to_thread(self._directories.clear, ended.user.opaque_id, number)
                await self._ended(ended)

    async def _make(
        self, job: Job, number: int, user: User, serving: Version | None, made: Dataset, stage: Path
    ) -> User | None:
        base = await asyncio.to_thread(base_directory, self._base_model)
        objective = self._objective(job.owner)
        recipe = await asyncio.to_thread(fitted, replace(self._recipe, objective=objective), base)
        cohort = None
        if self._beginning is not None and not await self._database.read(versions.learned_through, job.owner):
            cohort = await self._beginning(job.owner, number)
        if cohort is not None:
            await asyncio.to_thread(self._copy_start, cohort, 1, base, recipe, stage / PARENT)
            if (stage / PARENT).exists():
                recipe = replace(recipe, objective=replace(objective, continued=True))
        TrainingJob(str(base), recipe).write(stage)
        before = serving if objective.continued and cohort is None else None
        if before is not None:
            await asyncio.to_thread(self._copy_start, user.opaque_id, before.version, base, recipe, stage / PARENT)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows)
        await asyncio.to_thread((stage / "train.jsonl").write_text, lines, encoding="utf-8")
        async with self._noted(job, number, stage):
            await self._run_trainer(stage, self._seconds)
        adapter = stage / "adapter"
        await asyncio.to_thread(validate, adapter, base, recipe)
        # Before the gate: engines that bring adapters by themselves find the candidate in the store.
        # To its end: a thread cannot be cancelled, and an erasure would miss what it uploads afterwards.
        await to_the_end(asyncio.to_thread(self._directories.upload, adapter, user.opaque_id, number))
        verdict = await self._evaluator.judge(user, number, serving, adapter, made.held_out)
        figures = json.loads((stage / FIGURES).read_text())
        kept = figures["recipe"] == objective.name  # else it gave way to SFT
        thumbs, rankings = (made.thumbs, made.rankings) if kept else ([], [])
        counted = {"edits": len(made.learned_from), "thumbs": len(thumbs), "rankings": len(rankings)}
        report = {**verdict.as_json(), "training": {**figures, **counted}}
        if not verdict.admitted:
            await asyncio.to_thread(self._directories.remove, user.opaque_id, number)
            await self._refuse(job, number, report)
            return None
        taught = [*made.learned_from, *thumbs, *rankings]
        learned_from: frozenset[str] | None = frozenset(taught)
        if before is not None and (stage / PARENT).exists():  # what it learned is in these weights, too
            known = (await self._database.read(versions.learned_from, job.owner)).get(before.version)
            learned_from = None if known is None else frozenset(taught) | known
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
        # To its end: the stage is removed after us, and must not be while its files are moved into their place.
        return await to_the_end(
            self._database.write(
                runs.publish,
                job,
                Made(user.opaque_id, adapter, manifest, verdict.mode, made.learned_through, learned_from),
                self._directories,
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
        noting = asyncio.create_task(self._note_steps(job, number, stage))
        try:
            yield
        finally:
            noting.cancel()
            await asyncio.gather(noting, return_exceptions=True)
        steps = await asyncio.to_thread(progress.read, stage)
        await self._database.write(runs.note, job, number, {"progress": steps, "trained_at": time.time()})

    async def _note_steps(self, job: Job, number: int, stage: Path) -> None:
        """Note new steps, until cancelled."""
        noted: list[dict[str, Any]] = []
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            steps = await asyncio.to_thread(progress.read, stage)
            if steps != noted:
                await self._database.write(runs.note, job, number, {"progress": steps})
                noted = steps

    async def _refuse(self, job: Job, number: int, report: dict[str, Any]) -> None:
        with suppress(NotFound):
            await self._ended(await self._database.write(runs.end, job, number, "refused", report))

    async def _ended(self, ended: Ended | None) -> None:
        """Let another version serve, where one does since: a request or upkeep will, where that cannot be yet."""
        if ended is not None and ended.serves_other and self._follow is not None:
            try:
                await self._follow(ended.user)
            except AttuneError as error:
                log.warning("what serves %s is not in force yet: %s", ended.user.opaque_id, error.message)
