"""What whoever starts the server is told until it is ready: a person at a terminal in words, a log in lines."""

import logging
import sys

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.status import Status

from server.settings import Settings

log = logging.getLogger(__name__)


class Startup:
    """Told what is going on, which it logs."""

    def __init__(self) -> None:
        self._step = ""

    def step(self, words: str) -> None:
        """What is done now, in a few words."""
        log.info("%s", words)

    def fetched(self, step: str, done: int) -> None:
        """How far the fetching of the model is, in bytes."""
        if step != self._step:
            self._step = step
            log.info("fetching the model: %s", step)

    def say(self, sentence: str) -> None:
        """Something to know."""
        log.warning("%s", sentence)

    def ready(self, facts: dict[str, str], example: str) -> None:
        """It serves: its ``facts`` by name, and an ``example`` to paste."""
        log.info("ready: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))

    def close(self) -> None:
        """No more is told."""


class Told(Startup):
    """Words and a bar at a terminal, and one block when all is ready. ``total`` is what there is to fetch, in bytes."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__()
        self._console = console
        self._total = total
        self._status: Status | None = None
        self._bars: Progress | None = None

    def step(self, words: str) -> None:
        """See ``Startup``."""
        self._end_bars()
        if self._status is None:
            self._status = self._console.status(words)
            self._status.start()
        self._status.update(words)

    def fetched(self, step: str, done: int) -> None:
        """See ``Startup``."""
        if self._bars is None:
            self._end_status()
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=self._console, transient=True)
            self._bars.add_task("", total=self._total)
            self._bars.start()
        self._bars.update(self._bars.task_ids[0], description=f"Fetching the model: {step}", completed=done)

    def say(self, sentence: str) -> None:
        """See ``Startup``."""
        self._console.print(escape(sentence), style="yellow", highlight=False)

    def ready(self, facts: dict[str, str], example: str) -> None:
        """See ``Startup``."""
        self.close()
        width = max(map(len, facts))
        rows = "\n".join(f"[dim]{name:<{width}}[/dim]  {escape(value)}" for name, value in facts.items())
        self._console.print(Padding(f"[bold]Attune is ready.[/bold] Ctrl-C ends it.\n\n{rows}", (1, 2)))
        self._console.print(f"{escape(example)}\n", soft_wrap=True, highlight=False)

    def close(self) -> None:
        """See ``Startup``."""
        self._end_bars()
        self._end_status()

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _end_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def startup(*, told: bool, total: int) -> Startup:
    """For a person where ``told``, else for the log."""
    return Told(Console(stderr=True), total) if told else Startup()


def watched(settings: Settings) -> bool:
    """Whether a person looks: text, at a terminal."""
    return settings.log_format == "text" and sys.stderr.isatty()


def facts(settings: Settings, address: str, model: str | None) -> dict[str, str]:
    """What one wants to know of a server that is ready."""
    told = {
        "address": address,
        "console": f"{address}/console",
        "model": model or "of the engine",
        "data": str(settings.data_dir.absolute()),
    }
    if watched(settings):
        told["log"] = str(settings.data_dir.absolute() / "logs" / "server.log")
    return told


def example(address: str, model: str | None, *, key: bool) -> str:
    """A request to paste."""
    headers = ["Content-Type: application/json", "X-User-Id: maria"]
    headers += ["Authorization: Bearer $ATTUNE_KEY"] if key else []
    named = f'"model": "{model}", ' if model else ""
    said = "Write an email to Tom: I am off on Friday, he has the phone."
    body = f'{{{named}"messages": [{{"role": "user", "content": "{said}"}}]}}'
    # Double quotes around headers: a key is taken from the environment.
    return f"curl {address}/v1/chat/completions " + " ".join(f'-H "{one}"' for one in headers) + f" -d '{body}'"
