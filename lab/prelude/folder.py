"""The folder of a run: its parameters, its log, its server's data; one run at a time, which may go on later."""

import contextlib
import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Refused(Exception):
    """The run cannot begin; the message says why and what to do."""


class Folder:
    """``rounds.jsonl``, ``run.json`` and ``server/`` in ``path``; whatever else lies there is left alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "rounds.jsonl"
        self.server = path / "server"
        self._parameters = path / "run.json"

    @contextlib.contextmanager
    def opened(self, parameters: Mapping[str, Any], *, fresh: bool) -> Iterator[str]:
        """Hold the folder for a run of ``parameters``, anew if ``fresh``; gives the run's own id.

        Raises ``Refused`` where another run goes on, or one of other parameters began.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(f"Another run is using {self.path}.") from None
            if fresh:
                self._clear()
            yield self._begin(parameters)

    def _clear(self) -> None:
        for file in (self.log, self._parameters):
            file.unlink(missing_ok=True)
        if self.server.exists():
            shutil.rmtree(self.server)

    def _begin(self, parameters: Mapping[str, Any]) -> str:
        if self._parameters.exists():
            held = json.loads(self._parameters.read_text())
            other = [
                f"{name} {held[name]} (now {value})" for name, value in parameters.items() if held.get(name) != value
            ]
            if other:
                raise Refused(
                    f"{self.path} holds a run with {', '.join(other)}: --fresh begins anew, --out takes another folder."
                )
            return str(held["id"])
        id = uuid.uuid4().hex[:8]
        self.server.mkdir(mode=0o700, exist_ok=True)
        self._parameters.write_text(json.dumps({"id": id, **parameters}, indent=2) + "\n")
        return id
