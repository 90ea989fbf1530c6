"""The work file of a run: a JSON line for each step that is done, so that a later run can go on."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal

Step = Literal["run", "sent", "edit", "asked", "generation"]
"""What a run is of; an edit that is sent; what came of it; what later requests got; what an engine wrote."""

Mode = Literal["own", "one"]
"""Each case is a user of its own; or all cases are one user's, in the file's order."""
OfAll = Literal[""]
"""The mode of what both have in common."""


class NotThisRun(Exception):
    """A run cannot go on: it was of something else. The message says of what."""


class Work:
    """The steps done so far, by step, mode and id. Each is on the disk before ``add`` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[tuple[str, str, str], dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                record = json.loads(line)
            except ValueError:  # whoever was killed may leave half a line
                continue
            self._done[record["step"], record["mode"], record["id"]] = record

    def get(self, step: Step, mode: Mode | OfAll, id: str) -> dict[str, Any] | None:
        """The step's record, if it is done."""
        return self._done.get((step, mode, id))

    def add(self, step: Step, mode: Mode | OfAll, id: str, **fields: Any) -> dict[str, Any]:
        """Record a step, for good."""
        record = {"step": step, "mode": mode, "id": id, **fields}
        with self._path.open("a", encoding="utf-8") as file:
            # In front, too: it ends half a line that was left.
            file.write("\n" + json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._done[step, mode, id] = record
        return record

    def begin(self, **of: str) -> None:
        """Say what the run is of. Raises ``NotThisRun`` where the file is of something else."""
        before = self.get("run", "", "")
        if before is None:
            self.add("run", "", "", **of)
            return
        for name, value in of.items():
            if before.get(name) != value:
                raise NotThisRun(
                    f"What was played is of another {name}, {before.get(name)}, not {value}: leave out --resume."
                )


def digest(content: bytes | str) -> str:
    """A short name for what a file or a text holds."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
