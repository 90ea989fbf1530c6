"""Adapters that were made elsewhere: received, checked, published as a version that is ready and not active."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from adapters.artifacts.archive import Archive
from adapters.artifacts.directories import Directories, size_of
from adapters.artifacts.manifest import MANIFEST, Manifest
from adapters.artifacts.validation import adopted, base_directory, fitted, weights_limit
from adapters.artifacts.validation import base_sha256 as sha256_of
from adapters.lifecycle import activation, versions
from adapters.lifecycle.activation import Policy
from adapters.provenance import code_commit, code_version
from adapters.recipe import Recipe
from store.database import Database
from store.errors import Invalid, NotFound
from store.rows import findable
from store.users import User
from store.worker import to_the_end

MAX_EDITS = 10_000
"""Ids of edits that an imported manifest may name."""
_ORIGIN = ("version", "recipe", "figures", "report", "code", "commit", "created_at")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Importer:
    """Takes adapters in. ``base_model`` and ``recipe`` are the server's: what comes has to fit both.

    ``limit`` bounds the weights in bytes; ``commit`` is the code's, where git cannot tell it.
    """

    database: Database
    directories: Directories
    base_model: str
    recipe: Recipe
    policy: Policy
    limit: int
    commit: str | None = None

    async def __call__(self, user: User, tar: AsyncIterable[bytes], base_sha256: str | None = None) -> int:
        """The number of the new version. ``base_sha256`` is the hash of the base model that it was made for, if known.

        Raises ``Invalid`` for what is no adapter of the served model, ``NotFound`` when the user is erased meanwhile.
        """
        limit = min(self.limit, await asyncio.to_thread(self._weights_limit))  # before any of it is on the disk
        stage = await asyncio.to_thread(self.directories.stage, user.opaque_id, 0)
        adapter = stage / "adapter"
        try:
            await asyncio.to_thread(adapter.mkdir)
            with Archive(adapter, limit) as archive:
                async for piece in tar:
                    await asyncio.to_thread(archive.feed, piece)
                archive.close()
            manifest = await asyncio.to_thread(self._checked, adapter, base_sha256)
            # Before the transaction, which then finds them there, unless another version is taken in meanwhile.
            number = await self.database.read(versions.next_number, user.owner)
            await to_the_end(asyncio.to_thread(self.directories.upload, adapter, user.opaque_id, number))
            # To its end: the stage is removed after us, and must not be while its files are moved into their place.
            return await to_the_end(
                self.database.write(_publish, user, self.directories, adapter, manifest, self.policy)
            )
        except FileNotFoundError as error:
            raise NotFound("The user was erased meanwhile.", param="user") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)

    def _weights_limit(self) -> int:
        return weights_limit(base_directory(self.base_model), self.recipe)

    def _checked(self, adapter: Path, base_sha256: str | None) -> Manifest:
        """The manifest of an adapter that fits; its version is not known yet. Takes the one that it came with away."""
        told = _told(adapter / MANIFEST)
        base = base_directory(self.base_model)
        found = adopted(adapter, base, fitted(self.recipe, base))
        known = base_sha256 or told.get("base_sha256", "")
        if known and known != sha256_of(base):
            raise Invalid("The adapter was made for another base model than the one served.", param="base_sha256")
        return Manifest(
            version=0,
            learned_from=told.get("learned_from", []),
            base_sha256=known,
            recipe={"rank": found.rank, "alpha": found.alpha, "target_modules": found.target_modules},
            figures={"origin": {name: told[name] for name in _ORIGIN if name in told}},
            report={"verdict": versions.IMPORTED},
            created_at=time.time(),
            code=code_version(),
            commit=self.commit or code_commit(),
        )


def _told(path: Path) -> dict[str, Any]:
    """The manifest of another Attune, or nothing; the file is removed. Raises ``Invalid``."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{MANIFEST} is not JSON.") from error
    path.unlink()
    told = told if isinstance(told, dict) else {"": told}
    edits, base = told.get("learned_from", []), told.get("base_sha256", "")
    if not (isinstance(base, str) and (base == "" or _SHA256.fullmatch(base))):
        raise Invalid(f"{MANIFEST}: base_sha256 has to be a hash.")
    if not (isinstance(edits, list) and len(edits) <= MAX_EDITS and all(map(_is_id, edits))):
        raise Invalid(f"{MANIFEST}: learned_from has to be a list of at most {MAX_EDITS} ids.")
    return told


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 64 and findable(value)


def _publish(
    c: Connection, user: User, directories: Directories, adapter: Path, manifest: Manifest, policy: Policy
) -> int:
    """Row and directory in one transaction, under the user's lock: an erased user gets nothing."""
    if versions.lock_user(c, user.owner).opaque_id != user.opaque_id:
        raise NotFound("there is no such user", param="user")
    number = versions.take_in(c, user.owner, manifest.learned_from, size_of(adapter))
    activation.prune(c, user.owner, policy)
    directories.publish(adapter, user.opaque_id, replace(manifest, version=number))
    return number
