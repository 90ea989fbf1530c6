"""Store: published versions in an object store behind an fsspec URL, for servers that share no disk.

A version is ``URL/<opaque id>/v<N>/manifest.json``, written last, and a folder beside it that is named by the digests
of its files: two workers of which one lost its job without knowing write into two folders, and the manifest names one.
``URL/.erased/<period>/<opaque id>`` is the tombstone of an erased user, for engines that bring versions by themselves.
"""

import posixpath
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import fsspec

from adapters.artifacts.manifest import MANIFEST, content_of
from store.errors import EngineUnavailable, Invalid

_ERASED = ".erased"
_PERIOD = 30 * 86_400
"""Seconds of a folder of tombstones; they are kept for one to two of them."""


class StoreUnavailable(EngineUnavailable):
    """The object store does not answer, or refuses; the same may succeed later. The log has its own words."""


class ObjectStore:
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
        self._get(self._folder(opaque_id, version, files), version, files, into)

    def get_content(self, opaque_id: str, version: int, content: str, into: Path) -> None:
        """Download the files that were put under the digest ``content``, published or not; none where there are none.

        The caller compares ``content_of`` the files. Raises ``Invalid`` as ``get`` does.
        """
        folder = f"{self._path(opaque_id, version)}/{content}"
        self._get(folder, version, sorted(self._names(folder)), into)

    def has_content(self, opaque_id: str, version: int, content: str) -> bool:
        """Whether files were put under that digest, and are there still."""
        return content in self._names(self._path(opaque_id, version))

    def bury(self, opaque_id: str) -> None:
        """From now on nobody brings anything of this erased user, whatever is left here or comes back."""
        period = int(time.time() // _PERIOD)
        with _told():
            self._files.makedirs(f"{self._root}/{_ERASED}/{period}", exist_ok=True)
            self._files.pipe_file(f"{self._root}/{_ERASED}/{period}/{opaque_id}", b"erased")
        for old in self._names(f"{self._root}/{_ERASED}"):
            if old.isdecimal() and int(old) < period - 1:
                self._remove(f"{self._root}/{_ERASED}/{old}")

    def buried(self, opaque_id: str) -> bool:
        """Whether that user was erased, in this period or the one before."""
        with _told():
            return any(self._files.exists(f"{folder}/{opaque_id}") for folder in self._graves())

    def all_buried(self) -> set[str]:
        """The opaque ids of users erased in this period and the one before."""
        return {name for folder in self._graves() for name in self._names(folder)}

    def _graves(self) -> list[str]:
        period = int(time.time() // _PERIOD)
        return [f"{self._root}/{_ERASED}/{one}" for one in (period, period - 1)]

    def _get(self, folder: str, version: int, names: Iterable[str], into: Path) -> None:
        for name in names:
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
        return {name for name in self._names(self._root) if not name.startswith(".")}

    def published(self, opaque_id: str) -> set[int]:
        """The versions of a user that have something here, complete or not."""
        names = self._names(f"{self._root}/{opaque_id}")
        return {int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdecimal()}

    def _path(self, opaque_id: str, version: int) -> str:
        return f"{self._root}/{opaque_id}/v{version}"

    def _folder(self, opaque_id: str, version: int, files: Mapping[str, str]) -> str:
        return f"{self._path(opaque_id, version)}/{content_of(files)}"

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
