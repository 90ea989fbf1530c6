"""Store: published versions in an object store behind an fsspec URL, for servers that share no disk.

A version is ``URL/<opaque id>/v<N>/manifest.json``, written last, and a folder beside it that is named by the digests
of its files: two workers of which one lost its job without knowing write into two folders, and the manifest names one.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec

from adapters.manifest import MANIFEST
from preference.errors import EngineUnavailable, Invalid


class StoreUnavailable(EngineUnavailable):
    """The object store does not answer, or refuses; the same may succeed later. The log has its own words."""


class Store:
    """Blocking calls, from any thread. All but the constructor raise ``StoreUnavailable``.

    Credentials and time limits are the driver's own: its environment variables, or fsspec's configuration.
    """

    def __init__(self, url: str) -> None:
        """``s3://bucket/folder``, ``file:///mnt/x``, or what else fsspec has a driver for. Raises ``Invalid``."""
        try:
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise Invalid(f"The adapter store {url!r} cannot be opened: {error}.") from error
        self._root = str(root).rstrip("/")

    def put(self, directory: Path, opaque_id: str, version: int, files: Mapping[str, str]) -> None:
        """Upload ``files`` of ``directory`` (names, SHA-256); those that are there already are left alone."""
        folder = self._folder(opaque_id, version, files)
        with _told():
            self._files.makedirs(folder, exist_ok=True)
            for name in files:
                if self._size(f"{folder}/{name}") != (directory / name).stat().st_size:
                    self._files.put_file(str(directory / name), f"{folder}/{name}")

    def commit(self, opaque_id: str, version: int, manifest: bytes) -> None:
        """From now on others find the version, whose files are there."""
        with _told():
            self._files.pipe_file(f"{self._path(opaque_id, version)}/{MANIFEST}", manifest)

    def manifest(self, opaque_id: str, version: int) -> bytes | None:
        """What was committed, or None."""
        with _told():
            try:
                return bytes(self._files.cat_file(f"{self._path(opaque_id, version)}/{MANIFEST}"))
            except FileNotFoundError:
                return None

    def get(self, opaque_id: str, version: int, files: Mapping[str, str], into: Path) -> None:
        """Download ``files`` into the directory ``into``. Raises ``Invalid`` for a name that is no file's own."""
        folder = self._folder(opaque_id, version, files)
        for name in files:
            if posixpath.basename(name) != name or name in ("", ".", "..", MANIFEST):
                raise Invalid(f"The manifest of adapter version {version} names a file {name!r}.", param="version")
            with _told():
                self._files.get_file(f"{folder}/{name}", str(into / name))

    def remove(self, opaque_id: str, version: int) -> None:
        """Remove a version, its manifest first; a missing one is no error."""
        self._remove(f"{self._path(opaque_id, version)}/{MANIFEST}")
        self._remove(self._path(opaque_id, version))

    def remove_all(self, opaque_id: str) -> None:
        """Remove everything of a user."""
        self._remove(f"{self._root}/{opaque_id}")

    def users(self) -> set[str]:
        """The opaque ids that have something here."""
        return self._names(self._root)

    def published(self, opaque_id: str) -> set[int]:
        """The versions of a user that have something here, complete or not."""
        names = self._names(f"{self._root}/{opaque_id}")
        return {int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdecimal()}

    def _path(self, opaque_id: str, version: int) -> str:
        return f"{self._root}/{opaque_id}/v{version}"

    def _folder(self, opaque_id: str, version: int, files: Mapping[str, str]) -> str:
        content = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        return f"{self._path(opaque_id, version)}/{content[:32]}"

    def _size(self, path: str) -> int | None:
        try:
            size: int = self._files.info(path)["size"]
        except FileNotFoundError:
            return None
        return size

    def _names(self, path: str) -> set[str]:
        with _told():
            try:
                return {posixpath.basename(found.rstrip("/")) for found in self._files.ls(path, detail=False)}
            except FileNotFoundError:
                return set()

    def _remove(self, path: str) -> None:
        with _told():
            try:
                self._files.rm(path, recursive=True)
            except FileNotFoundError:
                return


@contextmanager
def _told() -> Iterator[None]:
    """Every driver raises errors of its own; to us they mean one thing."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(f"The adapter store failed: {type(error).__name__}.") from error
