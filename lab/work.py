"""The work file of a run: a JSON line for each step that is done, so that a later run can go on."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.refusal import Refused


class NotThisRun(Refused):
    """A run cannot go on here: it was of something else, or goes on already. The message says of what."""


class Work:
    """The steps done so far: by what was done, in which part of the run ("" is of all), and to what.

    Each is on the disk before ``add`` returns. ``anew`` is what whoever runs it can do to begin anew.
    """

    def __init__(self, path: Path, anew: str = "--fresh begins anew") -> None:
        self._path = path
        self._anew = anew
        self._done: dict[tuple[str, str, str], dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                record = json.loads(line)
            except ValueError:  # whoever was killed may leave half a line
                continue
            self._done[record["step"], record["mode"], record["id"]] = record

    def get(self, step: str, mode: str, id: str) -> dict[str, Any] | None:
        """The step's record, if it is done."""
        return self._done.get((step, mode, id))

    def of(self, step: str, mode: str | None = None) -> list[dict[str, Any]]:
        """What was recorded of a step in a part of the run, or in all of it, in the order of the file."""
        found = [r for (what, where, _), r in self._done.items() if what == step and mode in (None, where)]
        return [{name: value for name, value in r.items() if name not in ("step", "mode", "id")} for r in found]

    def add(self, step: str, mode: str, id: str, **fields: Any) -> dict[str, Any]:
        """Record a step, for good; what a later run will read of it."""
        line = json.dumps({"step": step, "mode": mode, "id": id, **fields}, ensure_ascii=False)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # In front, too: it ends half a line that was left.
            file.write(f"\n{line}\n")
            file.flush()
            os.fsync(file.fileno())
        record: dict[str, Any] = json.loads(line)
        self._done[step, mode, id] = record
        return record

    def begin(self, **of: str | float | None) -> str:
        """Say what the run is of; its own name. Raises ``NotThisRun`` where the file is of something else."""
        run = self.get("run", "", "") or self.add("run", "", "", run=uuid.uuid4().hex[:8], **of)
        if other := [f"{name} {run.get(name)} (now {now})" for name, now in of.items() if run.get(name) != now]:
            raise NotThisRun(f"What was played there is of {', '.join(other)}: {self._anew}.")
        return str(run.get("run"))


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises ``NotThisRun`` where another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotThisRun(f"Another run is using {folder}.") from None
        yield


def clear(folder: Path, *names: str) -> None:
    """Delete what a run has of these names in its folder, files or folders; all else stays."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def digest(content: bytes | str) -> str:
    """A short name for what a file or a text holds."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
