"""Adapter versions: their rows, and their directories, which appear whole or not at all.

A number is never used twice for one user, not even after a deletion: the engine keys its prefix cache by name and path.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, select, update

from adapters import dataset
from adapters.store import Store
from preference import feedback, jobs, users
from preference.errors import Conflict, Invalid, NotFound
from preference.owner import Owner
from preference.rows import key, later, scope
from preference.tables import adapters
from preference.tables import users as users_table
from preference.users import User

State = Literal["queued", "training", "ready", "refused", "failed", "retired", "deleted"]
UNFINISHED: tuple[State, ...] = ("queued", "training")
IMPORTED = "imported"
"""The verdict in the report of a version that was made elsewhere."""
_MANIFEST = "manifest.json"
_REMOVED = ".removed."
_TRIES = 20
_ROW = [adapters.c[name] for name in ("version", "state", "mode", "learned_through", "report", "created_at",
                                      "updated_at", "activated_at")]  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One adapter version of one user. ``mode`` is ``adapter`` or ``retrieval+adapter``: how it is best served.

    ``activated_at`` is when it last became the active one, None where it never was.
    """

    version: int
    state: State
    mode: str
    learned_through: float
    report: dict[str, Any]
    created_at: float
    updated_at: float
    activated_at: float | None = None


@dataclass(frozen=True)
class Manifest:
    """Where an adapter comes from; the last file written, so that a directory with it is complete."""

    version: int
    learned_from: list[str]  # feedback ids
    base_sha256: str  # empty: not known, of one that was made elsewhere
    recipe: dict[str, Any]
    figures: dict[str, Any]
    report: dict[str, Any]
    created_at: float
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each of the other files, filled in by ``publish``."""
    code: str = ""
    """The version of the code that made it, or took it in."""
    commit: str = ""
    """Its commit, where that can be known."""


def engine_name(opaque_id: str, version: int) -> str:
    """The name an adapter version carries in the engine."""
    return f"{opaque_id}.v{version}"


def user_of(name: str) -> str:
    """The opaque id in the name of an adapter in the engine, or of a folder in staging."""
    return name.partition(".")[0]


def get(c: Connection, owner: Owner, version: int) -> Version:
    """One version; raises ``NotFound``."""
    row = c.execute(select(*_ROW).where(_is(owner, version))).one_or_none()
    if row is None:
        raise NotFound(f"Adapter version {version} does not exist.", param="version")
    return _version(row)


def all_of(c: Connection, owner: Owner) -> list[Version]:
    """Every version, oldest first, the deleted ones included."""
    rows = c.execute(select(*_ROW).where(scope(adapters, owner)).order_by(adapters.c.version))
    return [_version(row) for row in rows]


def active(c: Connection, owner: Owner) -> Version | None:
    """The version that the rows say serves this user now, or None for the base model."""
    return serving(c, owner)[0]


def serving(c: Connection, owner: Owner) -> tuple[Version | None, Version | None]:
    """The active version, or None for the base model, and the canary that is tried beside it, if one is."""
    user = users.get(c, owner)
    numbers = (user.active_adapter, user.canary_adapter) if user else (0, 0)
    found = [get(c, owner, number) if number else None for number in numbers]
    first, second = (version if version and version.state == "ready" else None for version in found)
    return first, second


def census(c: Connection, limit: int) -> tuple[dict[str, int], int]:
    """How many versions there are by state, and how many that users are set to, over all tenants; ``limit`` of them."""
    some = select(adapters.c.tenant_id, adapters.c.user_id, adapters.c.version, adapters.c.state).limit(limit)
    held = some.subquery()
    states = c.execute(select(held.c.state, func.count()).group_by(held.c.state))
    of_user = and_(users_table.c.tenant_id == held.c.tenant_id, users_table.c.user_id == held.c.user_id)
    serving = and_(users_table.c.active_adapter == held.c.version, held.c.state == "ready")
    active = select(func.count()).select_from(held.join(users_table, of_user)).where(serving)
    return {state: count for state, count in states}, int(c.execute(active).scalar_one())


def learned_through(c: Connection, owner: Owner) -> float:
    """``created_at`` of the newest edit that a ready version learned from; 0.0 without one."""
    newest = select(func.max(adapters.c.learned_through)).where(scope(adapters, owner), adapters.c.state == "ready")
    return c.execute(newest).scalar() or 0.0


def next_number(c: Connection, owner: Owner) -> int:
    """The number of the next version; the caller holds the owner's lock."""
    return (c.execute(select(func.max(adapters.c.version)).where(scope(adapters, owner))).scalar() or 0) + 1


def queue(c: Connection, owner: Owner) -> int:
    """A new version with its train job. Raises ``NotFound`` without the user, ``Conflict`` while one is under way.

    Its report says how many edits there are, and if they are too few; more may come before the training begins.
    """
    lock_user(c, owner)
    pending = next((v.version for v in all_of(c, owner) if v.state in UNFINISHED), None)
    if pending is not None:
        raise Conflict(f"Adapter version {pending} is already being made.", param="version")
    told = dataset.told(feedback.count_since(c, owner, 0.0))
    number = _insert(c, owner, state="queued", mode="adapter", report=told)
    jobs.enqueue(c, owner, "train", str(number))
    return number


def take_in(c: Connection, owner: Owner, learned_from: Collection[str]) -> int:
    """A new version that was made elsewhere, ready and not active. The caller holds the owner's lock.

    It is served beside what retrieval knows: nobody can say what it has learned of that.
    """
    report = {"verdict": IMPORTED, "sentence": "imported: no gate has measured it"}
    mode, ids = "retrieval+adapter", sorted(learned_from)
    return _insert(c, owner, state="ready", mode=mode, report=report, learned_from=ids)


def _insert(c: Connection, owner: Owner, **values: Any) -> int:
    number, now = next_number(c, owner), later(c, owner, adapters.c.created_at)
    times = {"learned_through": 0.0, "created_at": now, "updated_at": now}
    c.execute(insert(adapters).values(**key(owner), version=number, **times, **values))
    return number


def queue_if_due(c: Connection, owner: Owner, min_edits: int) -> int | None:
    """Queue a version when ``min_edits`` edits came since the newest one was queued, whatever became of that one.

    A deleted version counts: the edits it was made from do not bring it back. While the active version is pinned, or
    another one is tried beside it, edits wait.
    """
    user = users.get(c, owner)
    versions = [version for version in all_of(c, owner) if version.report.get("verdict") != IMPORTED]
    if user is None or user.pinned or user.canary_adapter or (versions and versions[-1].state in UNFINISHED):
        return None
    since = versions[-1].created_at if versions else 0.0
    return queue(c, owner) if feedback.count_since(c, owner, since) >= min_edits else None


def cancel(c: Connection, owner: Owner, version: int) -> bool:
    """Give up a version that is not made yet; whether somebody is at it. Raises ``NotFound``, ``Invalid``."""
    job = jobs.cancel(c, owner, "train", str(version))  # first: who publishes holds the job
    made = get(c, owner, version)
    if job is None or made.state not in (*UNFINISHED, "failed"):
        raise Invalid(f"Adapter version {version} is not being made any more: it is {made.state}.", param="version")
    report = {"verdict": "cancelled", "sentence": "failed: cancelled"}
    set_state(c, owner, version, "failed", report=ended(made, report))
    return job == "running"


def ended(made: Version, report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a version that is made: what was noted meanwhile, when it ended, and ``report``."""
    noted = {**made.report.get("training", {}), **report.get("training", {}), "finished_at": time.time()}
    return {**report, "training": noted}


def set_state(
    c: Connection,
    owner: Owner,
    version: int,
    state: State,
    *,
    mode: str | None = None,
    learned_through: float | None = None,
    learned_from: Collection[str] | None = None,
    report: Mapping[str, Any] | None = None,
) -> None:
    """Change a version; what is None stays. Raises ``NotFound``, also for a deleted one, and a retired one stays so."""
    changes: dict[str, Any] = {"state": state, "updated_at": time.time()}
    changes |= {} if mode is None else {"mode": mode}
    changes |= {} if learned_through is None else {"learned_through": learned_through}
    changes |= {} if learned_from is None else {"learned_from": sorted(learned_from)}
    changes |= {} if report is None else {"report": dict(report)}
    gone = ("deleted",) if state == "deleted" else ("deleted", "retired")
    chosen = _is(owner, version) & adapters.c.state.not_in(gone)
    if c.execute(update(adapters).where(chosen).values(**changes)).rowcount == 0:
        raise NotFound(f"Adapter version {version} does not exist.", param="version")


def delete(c: Connection, owner: Owner, version: int) -> User:
    """Mark a version deleted, and serve the base model if it was active. Remove its directory after the commit."""
    user = lock_user(c, owner)
    set_state(c, owner, version, "deleted", learned_from=(), report={})
    unset(c, user, version)
    return user


def unset(c: Connection, user: User, version: int) -> None:
    """Let a version serve the user no more, neither beside another one nor alone: then the base model does."""
    if user.active_adapter == version:
        users.set_active_adapter(c, user.owner, 0, canary=user.canary_adapter, share=user.canary_share)
    elif user.canary_adapter == version:
        users.set_active_adapter(c, user.owner, user.active_adapter)


def activated(c: Connection, owner: Owner, version: int) -> None:
    """Note that a version became the active one."""
    c.execute(update(adapters).where(_is(owner, version)).values(activated_at=time.time()))


def learned_from(c: Connection, owner: Owner) -> dict[int, frozenset[str] | None]:
    """Of each ready version the ids of the feedback that its weights come from; None where nobody knows."""
    ready = select(adapters.c.version, adapters.c.learned_from)
    rows = c.execute(ready.where(scope(adapters, owner), adapters.c.state == "ready").order_by(adapters.c.version))
    return {version: None if ids is None else frozenset(ids) for version, ids in rows}


def ready(c: Connection, owner: Owner) -> set[int]:
    """The numbers of the versions that may serve."""
    return {v.version for v in all_of(c, owner) if v.state == "ready"}


def remove_stranded(c: Connection, owner: Owner, directories: "Directories") -> list[int]:
    """Remove the directories of versions that are not ready; their numbers. Raises ``NotFound`` without the user.

    They are there because a publication or a deletion was killed half-way, or made elsewhere. In a writing
    transaction: the user's lock keeps publications away, which move a directory before they commit.
    """
    opaque_id = lock_user(c, owner).opaque_id
    found = sorted(directories.published(opaque_id) - ready(c, owner))
    for version in found:
        directories.remove(opaque_id, version)
    return found


def lock_user(c: Connection, owner: Owner) -> User:
    """The user, held against deletion and against a second version until commit; raises ``NotFound``."""
    user = users.get(c, owner) if users.lock(c, owner) else None
    if user is None:
        raise NotFound("there is no such user", param="user")
    return user


@dataclass(frozen=True)
class Copy:
    """A published version on this disk: its bytes, and when it was last used or brought here (Unix seconds)."""

    opaque_id: str
    version: int
    size: int
    used_at: float

    @property
    def name(self) -> str:
        """Its name in the engine."""
        return engine_name(self.opaque_id, self.version)


class Directories:
    """``root/<opaque id>/v<N>``, and staging directories on the same file system. The former appear and vanish whole.

    A staging directory holds a user's texts while a version is being made: it is as private as the rows. With a
    ``store``, what is published is there too, and this disk holds as much of it as is used; then every call may raise
    ``StoreUnavailable``.
    """

    def __init__(self, root: Path, store: Store | None = None) -> None:
        self.root = root
        self._store = store
        self._staging = root / ".staging"

    def path(self, opaque_id: str, version: int) -> Path:
        """Where a published version lies."""
        return self.root / opaque_id / f"v{version}"

    def stage(self, opaque_id: str, version: int) -> Path:
        """A new, empty, private directory to make a version in; no two calls give the same path."""
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=f"{engine_name(opaque_id, version)}.", dir=self._staging))

    def upload(self, adapter: Path, opaque_id: str, version: int) -> None:
        """Put the files of a version to be published into the store, so that ``publish`` needs not wait for it."""
        if self._store is not None:
            self._store.put(adapter, opaque_id, version, _digests(adapter))

    def publish(self, adapter: Path, opaque_id: str, manifest: Manifest) -> Path:
        """Make the adapter files durable, write the manifest last, and move all of it into its final place.

        What a crashed publication left at that place is replaced: its row never became ready.
        """
        final = self.path(opaque_id, manifest.version)
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in adapter.iterdir():
            _sync(file)
        written = adapter / _MANIFEST
        complete = replace(manifest, files=_digests(adapter))
        written.write_text(json.dumps(asdict(complete), indent=2, sort_keys=True))
        _sync(written)
        _sync(adapter)
        self._discard(final, engine_name(opaque_id, manifest.version))
        adapter.rename(final)
        _sync(final.parent)
        _sync(self.root)
        self._commit(opaque_id, complete)
        return final

    def mirror(self, opaque_id: str, version: int) -> None:
        """Put a version into the store that lacks it: it was published before there was one."""
        if self._store is not None and self._store.manifest(opaque_id, version) is None:
            self._commit(opaque_id, self.verified(opaque_id, version))

    def manifest(self, opaque_id: str, version: int) -> Manifest:
        """A published version's manifest; raises ``NotFound`` when the directory is missing or incomplete."""
        held = self.path(opaque_id, version) / _MANIFEST
        try:
            written = None if self._store is None or held.exists() else self._store.manifest(opaque_id, version)
            return Manifest(**json.loads(held.read_text() if written is None else written))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise NotFound(f"Adapter version {version} has no complete directory.", param="version") from error

    def local(self, opaque_id: str, version: int) -> Path:
        """``path``, with the files in it: brought from the store if need be. The version counts as used just now.

        Raises ``NotFound`` as ``manifest`` does, and ``Invalid`` for other files than were published.
        """
        path = self.path(opaque_id, version)
        if self._store is not None:
            if not (path / _MANIFEST).exists():
                self._fetch(self._store, opaque_id, self.manifest(opaque_id, version))
            with suppress(FileNotFoundError):
                os.utime(path)
        return path

    def verified(self, opaque_id: str, version: int) -> Manifest:
        """The manifest of a version whose files are, to the byte, those that were validated and published.

        They are on this disk then. Raises ``NotFound`` as ``manifest`` does, and ``Invalid``.
        """
        self.local(opaque_id, version)
        manifest = self.manifest(opaque_id, version)
        if not manifest.files or _digests(self.path(opaque_id, version)) != manifest.files:
            raise _other_files(version)
        return manifest

    def users(self) -> list[str]:
        """The opaque ids that have a directory."""
        return [path.name for path in self.root.iterdir() if path != self._staging and path.is_dir()]

    def published(self, opaque_id: str) -> set[int]:
        """The versions of a user that have a directory, here or in the store."""
        return self.on_disk(opaque_id) | (set() if self._store is None else self._store.published(opaque_id))

    def on_disk(self, opaque_id: str) -> set[int]:
        """The versions of a user that have a directory here."""
        found = (self.root / opaque_id).glob("v*")
        return {int(path.name[1:]) for path in found if path.name[1:].isdecimal()}

    def copies(self) -> list[Copy]:
        """What this disk holds of published versions, least recently used first."""
        return sorted(
            (copy for user in self.users() for version in self.on_disk(user) if (copy := self._copy(user, version))),
            key=lambda copy: copy.used_at,
        )

    def evict(self, copy: Copy) -> bool:
        """Remove a version from this disk alone; False where that is the only place it is in."""
        if self._store is None or self._store.manifest(copy.opaque_id, copy.version) is None:
            return False
        self._discard(self.path(copy.opaque_id, copy.version), copy.name)
        return True

    def remove(self, opaque_id: str, version: int) -> None:
        """Remove a published version, from the store, too; a missing one is no error."""
        self._discard(self.path(opaque_id, version), engine_name(opaque_id, version))
        if self._store is not None:
            self._store.remove(opaque_id, version)

    def clear(self, opaque_id: str, version: int) -> None:
        """Remove all that killed workers left of a version that is not ready: published, or being made."""
        self.remove(opaque_id, version)
        self.clear_stage(opaque_id, version)

    def clear_stage(self, opaque_id: str, version: int) -> None:
        """Remove what killed workers left of a version that nobody is making: the user's texts, for one."""
        for staged in self._staging.glob(f"{engine_name(opaque_id, version)}.*"):
            _remove(staged)

    def remove_all(self, opaque_id: str) -> None:
        """Remove everything of a user: published versions, in the store, too, and what is being made."""
        self._discard(self.root / opaque_id, f"{opaque_id}.versions")
        for staged in self._staging.glob(f"{opaque_id}.v*"):
            _remove(staged)
        if self._store is not None:
            self._store.remove_all(opaque_id)

    def holders(self) -> set[str]:
        """The opaque ids of all who have something here or in the store, published or in staging."""
        stored = set() if self._store is None else self._store.users()
        return {*self.users(), *(user_of(staged.name) for staged in self._staging.glob("*")), *stored}

    def sweep(self, older_than_seconds: float = 86_400) -> None:
        """Remove what killed processes left in staging: half-removed versions, and what is older than any training."""
        for staged in self._staging.glob("*"):
            with suppress(FileNotFoundError):  # its own process, or another sweep, was faster
                if _REMOVED in staged.name or time.time() - staged.stat().st_mtime > older_than_seconds:
                    _remove(staged)

    def _commit(self, opaque_id: str, manifest: Manifest) -> None:
        """Into the store: its files, if they are not there, and then that it is published."""
        if self._store is not None:
            path = self.path(opaque_id, manifest.version)
            self._store.put(path, opaque_id, manifest.version, manifest.files)
            self._store.commit(opaque_id, manifest.version, (path / _MANIFEST).read_bytes())

    def _fetch(self, store: Store, opaque_id: str, manifest: Manifest) -> None:
        """Bring a version from the store into its place here, whole; raises ``Invalid`` when it is another one."""
        staged, final = self.stage(opaque_id, manifest.version), self.path(opaque_id, manifest.version)
        try:
            fetched = staged / "fetched"
            fetched.mkdir()
            store.get(opaque_id, manifest.version, manifest.files, fetched)
            if _digests(fetched) != manifest.files:
                raise _other_files(manifest.version)
            (fetched / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=2, sort_keys=True))
            final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                fetched.rename(final)
            except OSError as error:  # somebody else was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            _remove(staged)

    def _copy(self, opaque_id: str, version: int) -> Copy | None:
        path = self.path(opaque_id, version)
        try:
            size = sum(file.stat().st_size for file in path.iterdir())
            return Copy(opaque_id, version, size, path.stat().st_mtime)
        except FileNotFoundError:  # gone meanwhile
            return None

    def _discard(self, directory: Path, name: str) -> None:
        """Move a directory away in one step, then remove it: nobody sees it without some of its files."""
        if not directory.exists():
            return
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        discarded = Path(tempfile.mkdtemp(prefix=f"{name}{_REMOVED}", dir=self._staging))
        with suppress(FileNotFoundError):  # somebody else was faster
            directory.rename(discarded / "removed")
        _remove(discarded)


def _other_files(version: int) -> Invalid:
    message = f"The files of adapter version {version} are not those that were published: train a new version."
    return Invalid(message, param="version")


def _digests(directory: Path) -> dict[str, str]:
    """SHA-256 of each file but the manifest; empty for what is no file of its own: a link, a folder."""
    digests: dict[str, str] = {}
    for path in directory.iterdir():
        if path.is_symlink() or not path.is_file():
            digests[path.name] = ""
        elif path.name != _MANIFEST:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _is(owner: Owner, version: int) -> ColumnElement[bool]:
    return scope(adapters, owner) & (adapters.c.version == version)


def _version(row: Row[Any]) -> Version:
    return Version(*row)


def _remove(directory: Path) -> None:
    """Remove a directory; whoever removes it too, or still writes into it, is borne with for a while."""
    for attempt in range(_TRIES):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            if not directory.exists():
                return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt + 1 == _TRIES:
                raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
