"""An adapter that comes as a tar file, as the export sends one: read while it arrives, never as its names say.

Only plain files are taken, by the last part of their name, into a folder of ours. What else may be in such an archive,
a link, a device or a sparse file, is refused, and so is what is larger than it may be.
"""

import tarfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from adapters.artifacts.manifest import MANIFEST
from adapters.artifacts.validation import CONFIG, MAX_CONFIG_BYTES, WEIGHTS
from store.errors import Invalid

MAX_MANIFEST_BYTES = 1024 * 1024
_BLOCK = tarfile.BLOCKSIZE
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_DESCRIPTIVE = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)  # of names and times that are not used
_MAX_DESCRIPTION = 64 * 1024
_README = "README.md"  # peft writes one


class Archive:
    """Writes the files of an adapter into ``folder`` as the bytes of its tar file are given to ``feed``.

    A context manager: ``close`` it in the end, and leave it in any case. Each call raises ``Invalid`` for what is no
    tar file, is cut short, or holds other files than an adapter's.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limits = {CONFIG: MAX_CONFIG_BYTES, WEIGHTS: limit, MANIFEST: MAX_MANIFEST_BYTES}
        self._header = bytearray()
        self._content = self._padding = 0
        self._file: BinaryIO | None = None
        self._seen: set[str] = set()
        self._ended = False

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def feed(self, piece: bytes) -> None:
        """The next bytes of the tar file; what comes after its end is ignored."""
        rest = memoryview(piece)
        while rest and not self._ended:
            if self._content:
                taken, rest = rest[: self._content], rest[self._content :]
                self._content -= len(taken)
                self._take(taken)
            elif self._padding:
                skipped = min(self._padding, len(rest))
                self._padding, rest = self._padding - skipped, rest[skipped:]
            else:
                missing = _BLOCK - len(self._header)
                self._header += rest[:missing]
                rest = rest[missing:]
                if len(self._header) == _BLOCK:
                    header, self._header = bytes(self._header), bytearray()
                    self._begin(header)

    def close(self) -> None:
        """That was all of it."""
        if self._content or self._header or not self._seen:
            raise Invalid("The adapter's tar file is cut short, or empty.")

    def _begin(self, header: bytes) -> None:
        """A member of the archive, or its end."""
        if not any(header):
            self._ended = True
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
        except (tarfile.HeaderError, ValueError) as error:
            raise Invalid("An adapter is sent as a tar file, not compressed; this is none.") from error
        name = PurePosixPath(member.name).name
        if member.type == tarfile.DIRTYPE:
            return
        allowed = _MAX_DESCRIPTION
        if member.type in _DESCRIPTIVE:
            name = ""
        elif member.type not in _PLAIN:
            raise Invalid(f"The adapter's tar file holds {name[:100]!r}, which is no plain file.")
        elif name != _README and not name.startswith("."):
            if name not in self._limits or name in self._seen:
                raise Invalid(f"An adapter is the two files {CONFIG} and {WEIGHTS}; found {name[:100]!r}.")
            allowed = self._limits[name]
            self._seen.add(name)
        if not 0 <= member.size <= allowed:
            raise Invalid(f"{name[:100]!r} in the adapter's tar file is larger than {allowed} bytes.")
        self._content, self._padding = member.size, -member.size % _BLOCK
        if name in self._seen:
            self._file = (self._folder / name).open("wb")
            self._take(memoryview(b""))

    def _take(self, piece: memoryview) -> None:
        if self._file is not None:
            self._file.write(piece)
            if not self._content:
                self._file.close()
                self._file = None
