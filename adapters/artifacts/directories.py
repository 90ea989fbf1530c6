"""The directories of adapter versions, which appear whole or not at all."""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.artifacts.manifest import MANIFEST, Manifest, content_of, digests
from adapters.artifacts.names import engine_name, user_of
from adapters.artifacts.object_store import ObjectStore
from store.errors import Invalid, NotFound

_REMOVED = ".removed."
_TRIES = 20


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


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


class Directories:
    """``root/<opaque id>/v<N>``, and staging directories on the same file system. The former appear and vanish whole.

    A staging directory holds a user's texts while a version is being made: it is as private as the rows. With a
    ``store``, what is published is there too, and this disk holds as much of it as is used; then every call may raise
    ``StoreUnavailable``.
    """

    def __init__(self, root: Path, store: ObjectStore | None = None) -> None:
        self.root = root
        self.store = store
        self._staging = root / ".staging"

    def path(self, opaque_id: str, version: int) -> Path:
        """Where a published version lies."""
        return self.root / opaque_id / f"v{version}"

    def stage(self, opaque_id: str, version: int) -> Path:
        """A new, empty, private directory to make a version in; no two calls give the same path."""
        return self._temporary(f"{engine_name(opaque_id, version)}.")

    def upload(self, adapter: Path, opaque_id: str, version: int) -> None:
        """Put the files of a version to be published into the store, so that ``publish`` needs not wait for it."""
        if self.store is not None:
            self.store.put(adapter, opaque_id, version, digests(adapter))

    def publish(self, adapter: Path, opaque_id: str, manifest: Manifest) -> Path:
        """Make the adapter files durable, write the manifest last, and move all of it into its final place.

        What a crashed publication left at that place is replaced: its row never became ready.
        """
        final = self.path(opaque_id, manifest.version)
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in adapter.iterdir():
            _sync(file)
        written = adapter / MANIFEST
        complete = replace(manifest, files=digests(adapter))
        written.write_text(complete.text())
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
        if self.store is not None and self.store.manifest(opaque_id, version) is None:
            self._commit(opaque_id, self.verified(opaque_id, version))

    def manifest(self, opaque_id: str, version: int) -> Manifest:
        """A published version's manifest; raises ``NotFound`` when the directory is missing or incomplete."""
        held = self.path(opaque_id, version) / MANIFEST
        try:
            written = None if self.store is None or held.exists() else self.store.manifest(opaque_id, version)
            return Manifest(**json.loads(held.read_text() if written is None else written))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise NotFound(f"Adapter version {version} has no complete directory.", param="version") from error

    def local(self, opaque_id: str, version: int) -> Path:
        """``path``, with the files in it: brought from the store if need be. The version counts as used just now.

        Raises ``NotFound`` as ``manifest`` does, and ``Invalid`` for other files than were published.
        """
        path = self.path(opaque_id, version)
        if self.store is not None:
            if not (path / MANIFEST).exists():
                self._fetch(self.store, opaque_id, self.manifest(opaque_id, version))
            with suppress(FileNotFoundError):
                os.utime(path)
        return path

    def verified(self, opaque_id: str, version: int) -> Manifest:
        """The manifest of a version whose files are, to the byte, those that were validated and published.

        They are on this disk then. Raises ``NotFound`` as ``manifest`` does, and ``Invalid``.
        """
        self.local(opaque_id, version)
        manifest = self.manifest(opaque_id, version)
        if not manifest.files or digests(self.path(opaque_id, version)) != manifest.files:
            raise _other_files(version)
        return manifest

    def candidate(self, opaque_id: str, version: int, content: str) -> Path:
        """A version that is not published yet, brought from the store, of the files that have this digest together.

        Raises ``NotFound`` where they are not there, or are others.
        """
        final = self.root / opaque_id / f"v{version}-{content}"
        if self.store is not None and not final.exists():
            with self._fetching(opaque_id, version) as fetched:
                self.store.get_content(opaque_id, version, content, fetched)
                if content_of(digests(fetched)) == content:
                    self._move(fetched, final)
        if not final.exists():
            raise NotFound(f"There is no such candidate for adapter version {version}.", param="version")
        os.utime(final)
        return final

    def users(self) -> list[str]:
        """The opaque ids that have a directory."""
        return [path.name for path in self.root.iterdir() if path != self._staging and path.is_dir()]

    def published(self, opaque_id: str) -> set[int]:
        """The versions of a user that have a directory, here or in the store."""
        return self.on_disk(opaque_id) | (set() if self.store is None else self.store.published(opaque_id))

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
        if self.store is None or self.store.manifest(copy.opaque_id, copy.version) is None:
            return False
        self._discard(self.path(copy.opaque_id, copy.version), copy.name)
        return True

    def remove(self, opaque_id: str, version: int) -> None:
        """Remove a published version, from the store, too; a missing one is no error."""
        self._discard(self.path(opaque_id, version), engine_name(opaque_id, version))
        if self.store is not None:
            self.store.remove(opaque_id, version)

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
        if self.store is not None:
            self.store.remove_all(opaque_id)

    def bury(self, opaque_id: str) -> None:
        """Say in the store that a user was erased: engines that bring versions by themselves bring none of them."""
        if self.store is not None:
            self.store.bury(opaque_id)

    def holders(self) -> set[str]:
        """The opaque ids of all who have something here or in the store, published or in staging."""
        stored = set() if self.store is None else self.store.users()
        return {*self.users(), *(user_of(staged.name) for staged in self._staging.glob("*")), *stored}

    def sweep(self, older_than_seconds: float = 86_400) -> None:
        """Remove what killed processes left in staging: half-removed versions, and what is older than any training."""
        for staged in self._staging.glob("*"):
            with suppress(FileNotFoundError):  # its own process, or another sweep, was faster
                if _REMOVED in staged.name or time.time() - staged.stat().st_mtime > older_than_seconds:
                    _remove(staged)

    def _commit(self, opaque_id: str, manifest: Manifest) -> None:
        """Into the store: its files, if they are not there, and then that it is published."""
        if self.store is not None:
            path = self.path(opaque_id, manifest.version)
            self.store.put(path, opaque_id, manifest.version, manifest.files)
            self.store.commit(opaque_id, manifest.version, (path / MANIFEST).read_bytes())

    def _fetch(self, store: ObjectStore, opaque_id: str, manifest: Manifest) -> None:
        """Bring a version from the store into its place here, whole; raises ``Invalid`` when it is another one."""
        with self._fetching(opaque_id, manifest.version) as fetched:
            store.get(opaque_id, manifest.version, manifest.files, fetched)
            if digests(fetched) != manifest.files:
                raise _other_files(manifest.version)
            (fetched / MANIFEST).write_text(manifest.text())
            self._move(fetched, self.path(opaque_id, manifest.version))

    @contextmanager
    def _fetching(self, opaque_id: str, version: int) -> Iterator[Path]:
        """A folder for files from the store, to be moved into their place."""
        staged = self.stage(opaque_id, version)
        try:
            (fetched := staged / "fetched").mkdir()
            yield fetched
        finally:
            _remove(staged)

    def _move(self, fetched: Path, final: Path) -> None:
        for tried in range(_TRIES):
            final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                fetched.rename(final)
                return
            except FileNotFoundError:  # an emptied folder of the user's was removed just now
                if tried == _TRIES - 1:
                    raise
            except OSError as error:  # somebody else was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return

    def _copy(self, opaque_id: str, version: int) -> Copy | None:
        path = self.path(opaque_id, version)
        try:
            return Copy(opaque_id, version, size_of(path), path.stat().st_mtime)
        except FileNotFoundError:  # gone meanwhile
            return None

    def _discard(self, directory: Path, name: str) -> None:
        """Move a directory away in one step, then remove it: nobody sees it without some of its files."""
        if not directory.exists():
            return
        discarded = self._temporary(f"{name}{_REMOVED}")
        with suppress(FileNotFoundError):  # somebody else was faster
            directory.rename(discarded / "removed")
        _remove(discarded)

    def _temporary(self, prefix: str) -> Path:
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self._staging))


def _other_files(version: int) -> Invalid:
    message = f"The files of adapter version {version} are not those that were published: train a new version."
    return Invalid(message, param="version")


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
