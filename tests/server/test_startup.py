"""What a person at a terminal reads while the server starts, and what the log keeps instead: the real command."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from server.startup import Told
from tests.server.fake_engine import FakeEngine

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_a_terminal(folder: Path, until: str, **settings: str) -> tuple[str, int]:
    """What `attune serve` shows on a terminal, and its status; Ctrl-C is pressed as soon as ``until`` is read."""
    ours, theirs = pty.openpty()
    given = {"data_dir": str(folder / "data"), "port": "0", "model": "attune-tiny", **settings}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")}
    environment |= {f"ATTUNE_{name.upper()}": value for name, value in given.items()} | {"COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "serve"],
        env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, pressed, deadline = b"", False, time.monotonic() + 240
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # it has ended
                break
        if not pressed and until and until in CONTROL.sub("", shown.decode(errors="replace")):
            process.send_signal(signal.SIGINT)
            pressed = True
    os.close(ours)
    if process.poll() is None and not pressed:
        process.kill()
    return CONTROL.sub("", shown.decode(errors="replace")).replace("\r", ""), process.wait(60)


@pytest.mark.timeout(400)
def test_a_person_reads_words_and_one_block_and_the_log_is_a_file(tmp_path: Path, engine: FakeEngine) -> None:
    shown, status = at_a_terminal(tmp_path, "curl http", engine_url=engine.url, served_model_name="fake-model")
    assert status == 0
    assert not re.search(r"\b(?:INFO|WARNING|ERROR|Traceback)\b", shown), shown
    assert "Loading the model" in shown
    for name, value in {
        "address": r"http://127\.0\.0\.1:\d+",
        "console": r"http://127\.0\.0\.1:\d+/console",
        "model": "fake-model",
        "data": re.escape(str(tmp_path / "data")),
    }.items():
        assert re.search(rf"{name} +{value}", shown), shown
    log = (tmp_path / "data" / "logs" / "server.log").read_text()
    assert "No API key exists" in log


def test_what_cannot_start_is_one_sentence_at_a_terminal(tmp_path: Path) -> None:
    shown, status = at_a_terminal(tmp_path, "", model="/no/such/model")
    assert status == 1
    assert "does not exist" in shown
    assert "Traceback" not in shown
    assert len([line for line in shown.splitlines() if line.strip()]) == 1


def test_fetching_is_shown_as_a_bar_and_what_goes_wrong_as_a_sentence() -> None:
    file = StringIO()
    told = Told(Console(file=file, force_terminal=True, width=120), total=100)
    told.fetched("downloading x 1.0", 50)
    told.say("No network [at all].")
    told.step("Loading the model")
    told.close()
    shown = CONTROL.sub("", file.getvalue())
    assert "Fetching the model: downloading x 1.0" in shown
    assert "50/100 bytes" in shown
    assert "No network [at all]." in shown
