"""The work file of a run: a JSON line for each step that is done, so that a later run can go on."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


class NotThisRun(Exception):
    """A run cannot go on: it was of something else. The message says of what."""


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

    def of(self, step: str, mode: str) -> list[dict[str, Any]]:
        """All records of a step in a part of the run, in the order of the file."""
        return [record for (what, where, _), record in self._done.items() if (what, where) == (step, mode)]

    def add(self, step: str, mode: str, id: str, **fields: Any) -> dict[str, Any]:
        """Record a step, for good."""
        record = {"step": step, "mode": mode, "id": id, **fields}
        with self._path.open("a", encoding="utf-8") as file:
            # In front, too: it ends half a line that was left.
            file.write("\n" + json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._done[step, mode, id] = record
        return record

    def begin(self, **of: str | float | None) -> None:
        """Say what the run is of. Raises ``NotThisRun`` where the file is of something else."""
        before = self.get("run", "", "")
        if before is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.add("run", "", "", **of)
            return
        for name, value in of.items():
            if before.get(name) != value:
                raise NotThisRun(
                    f"What was played is of another {name}, {before.get(name)}, not {value}: {self._anew}."
                )


def digest(content: bytes | str) -> str:
    """A short name for what a file or a text holds."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
