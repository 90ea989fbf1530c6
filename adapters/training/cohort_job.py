"""Cohort adapters: one for users of a tenant who prefer alike, made of all their edits; where a new user begins."""

import asyncio
import json
import logging
import random
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from adapters import dataset
from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.validation import base_directory, base_sha256, fitted, validate
from adapters.lifecycle import cohorts
from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training.process import RunTrainer
from adapters.training.trainer import FIGURES, TrainingJob
from preference import preferences
from preference.feedback import edit_rows
from preference.ports import Embedder, Vectors
from preference.recall.similarity import units
from store import users
from store.database import Database
from store.errors import AttuneError, NotFound
from store.owner import Owner
from store.worker import to_the_end

log = logging.getLogger(__name__)

MIN_MEMBERS, MAX_MEMBERS = 3, 16
"""Nobody's texts are the only source of a cohort, nor a third of it or more once there are four."""
ALIKE = 0.8
"""The cosine between the means of two users' preferences from which on they prefer alike."""
MAX_ROWS = 64
"""Training rows of a member: all give as many as the one who has fewest."""
VERSION = 1
_EVERY, _ABANDONED = 3600.0, 86_400.0
_SECONDS = 3600.0
_PAGE = 200


class Cohorts:
    """Founds cohorts of the ``tenants`` that opted in, and tells a new user's training where to begin.

    A user teaches one cohort at most, with the edits that the gate does not hold out, and begins from none they
    taught. A cohort stays until a member is erased. It serves nobody: what begins from it goes through its user's gate.
    """

    def __init__(
        self,
        database: Database,
        directories: Directories,
        embedder: Embedder,
        *,
        tenants: Collection[str],
        base_model: str,
        recipe: Recipe,
        run_trainer: RunTrainer,
        ready: Callable[[], bool] = lambda: True,
        system_role: bool = True,
    ) -> None:
        """``ready`` says when trainings may begin."""
        self._database = database
        self._directories = directories
        self._embedder = embedder
        self._tenants = sorted(tenants)
        self._base_model = base_model
        self._recipe = replace(recipe, objective=Objective())
        self._run_trainer = run_trainer
        self._ready = ready
        self._system_role = system_role

    async def run(self) -> None:
        """Found what can be founded, every hour, until cancelled."""
        while True:
            for tenant in self._tenants:
                if not self._ready():
                    continue
                try:
                    await self.gather(tenant)
                except Exception:
                    log.exception("the cohorts of a tenant could not be made")
            await asyncio.sleep(_EVERY)

    async def gather(self, tenant: str) -> list[str]:
        """Found and train the cohorts of a tenant's users who teach none yet; their ids."""
        for cohort, created_at in (await self._database.read(cohorts.of_tenant, tenant)).items():
            if created_at < time.time() - _ABANDONED and not await self._published(cohort):
                await self._database.write(cohorts.dissolve, tenant, cohort)
        free = {}
        for owner in await self._users(tenant):
            few = await self._database.read(edit_rows.count_since, owner, 0.0) < dataset.MIN_EDITS
            taught = few or bool(await self._database.read(cohorts.taught_by, owner))
            if not taught and (vector := await self._preferred(owner)) is not None:
                free[owner] = vector
        made = []
        for owners in await asyncio.to_thread(groups, free):
            cohort = secrets.token_hex(16)
            try:
                await self._train(cohort, owners, centre([free[owner] for owner in owners]))
                made.append(cohort)
            except AttuneError as error:  # a member was erased, or the trainer failed: another time
                log.warning("cohort %s was not made: %s", cohort, error.message)
                await self._database.write(cohorts.dissolve, tenant, cohort)
                await asyncio.to_thread(self._directories.remove_all, cohort)
        return made

    async def beginning(self, owner: Owner, version: int) -> str | None:
        """The cohort from which a new user's first version shall begin, from now on known to have; None without one."""
        vector = await self._preferred(owner) if owner.tenant in self._tenants else None
        if vector is None:
            return None
        own = set(await self._database.read(cohorts.taught_by, owner))
        best, nearest = ALIKE, None
        for cohort in await self._database.read(cohorts.of_tenant, owner.tenant):
            if cohort in own:
                continue
            try:
                figures = (await asyncio.to_thread(self._directories.manifest, cohort, VERSION)).figures
            except NotFound:  # in the making
                continue
            similarity = float(vector @ np.asarray(figures["centre"], dtype=np.float32))
            if figures["embedder"] == self._embedder.name and similarity >= best:
                best, nearest = similarity, cohort
        if nearest is None or not await self._database.write(cohorts.follow, owner, nearest, version):
            return None
        return nearest

    async def _train(self, cohort: str, owners: Sequence[Owner], middle: Vectors) -> None:
        base = await asyncio.to_thread(base_directory, self._base_model)
        recipe = await asyncio.to_thread(fitted, self._recipe, base)
        await self._database.write(cohorts.found, owners, cohort)  # first: who is erased from now on dissolves it
        stage = await asyncio.to_thread(self._directories.stage, cohort, VERSION)
        try:
            rows = await self._database.read(self._pooled, owners)
            TrainingJob(str(base), recipe).write(stage)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            await asyncio.to_thread((stage / "train.jsonl").write_text, lines, encoding="utf-8")
            await self._run_trainer(stage, _SECONDS)
            adapter = stage / "adapter"
            await asyncio.to_thread(validate, adapter, base, recipe)
            figures = json.loads(await asyncio.to_thread((stage / FIGURES).read_text))
            manifest = Manifest(
                version=VERSION,
                learned_from=[],  # ids of many users' edits belong into no file: ``cohort_members`` says whose
                base_sha256=await asyncio.to_thread(base_sha256, base),
                recipe=asdict(recipe),
                figures={**figures, "embedder": self._embedder.name, "centre": [float(x) for x in middle]},
                report={"members": len(owners)},
                created_at=time.time(),
            )
            await to_the_end(asyncio.to_thread(self._directories.upload, adapter, cohort, VERSION))
            await to_the_end(self._database.write(self._publish, owners[0].tenant, cohort, adapter, manifest))
        except (OSError, ValueError) as error:
            raise NotFound(f"its files went away: {type(error).__name__}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)

    def _publish(self, c: Connection, tenant: str, cohort: str, adapter: Path, manifest: Manifest) -> None:
        if cohort not in cohorts.of_tenant(c, tenant):
            raise NotFound("a member was erased")
        self._directories.publish(adapter, cohort, manifest)

    def _pooled(self, c: Connection, owners: Sequence[Owner]) -> list[dict[str, object]]:
        """As many rows of each, of those edits that their own training would learn from. Raises ``Invalid``."""
        each = []
        for owner in owners:
            edits = edit_rows.edits(c, owner, limit=dataset.MAX_EDITS)
            each.append(dataset.build(edits, seed=self._recipe.seed, system_role=self._system_role).rows)
        count = min(MAX_ROWS, *map(len, each))
        pooled = [row for rows in each for row in rows[:count]]
        random.Random(self._recipe.seed).shuffle(pooled)
        return pooled

    async def _published(self, cohort: str) -> bool:
        try:
            await asyncio.to_thread(self._directories.manifest, cohort, VERSION)
        except NotFound:
            return False
        return True

    async def _users(self, tenant: str) -> list[Owner]:
        found: list[Owner] = []
        after = Owner(tenant, "")
        while page := await self._database.read(users.page, after=after, limit=_PAGE):
            found += [owner for owner in page if owner.tenant == tenant]
            after = page[-1]
            if after.tenant != tenant:
                break
        return found

    async def _preferred(self, owner: Owner) -> Vectors | None:
        """The mean of the user's active preferences, unit length; None without any."""
        texts = [one.text for one in await self._database.read(preferences.active, owner)]
        return centre(await asyncio.to_thread(self._embedder.embed, texts)) if texts else None


def centre(vectors: Sequence[Vectors] | Vectors) -> Vectors:
    """The mean of unit vectors, of unit length again."""
    return units(np.mean(np.stack(list(vectors)), axis=0))


def groups(vectors: dict[Owner, Vectors]) -> list[list[Owner]]:
    """Users who prefer alike, ``MIN_MEMBERS`` to ``MAX_MEMBERS`` of them: each joins the first group it is like."""
    gathered: list[list[Owner]] = []
    centres = np.zeros((len(vectors), len(next(iter(vectors.values()), ()))), dtype=np.float32)
    for owner in sorted(vectors):
        alike = np.flatnonzero(centres[: len(gathered)] @ vectors[owner] >= ALIKE)
        place = next((place for place in alike.tolist() if len(gathered[place]) < MAX_MEMBERS), len(gathered))
        if place == len(gathered):
            gathered.append([])
        gathered[place].append(owner)
        centres[place] = centre([vectors[one] for one in gathered[place]])
    return [group for group in gathered if len(group) >= MIN_MEMBERS]
