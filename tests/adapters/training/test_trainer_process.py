import sys
from pathlib import Path

import pytest

from adapters.errors import TrainingFailed
from adapters.training.process import run_command


async def test_a_trainer_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="longer than 0 s"):
        await run_command(["sleep", "60"], tmp_path, 0.05)


async def test_what_a_failed_trainer_says_is_for_the_log_alone_and_quotes_no_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "script.py"
    for raised_there, told in (("ValueError", "ValueError"), ("OSError", "OSError: Dear Ann")):
        script.write_text(f"import sys\nprint('Dear Bob', file=sys.stderr)\nraise {raised_there}('Dear Ann')\n")
        caplog.clear()
        with pytest.raises(TrainingFailed) as raised:
            await run_command([sys.executable, str(script)], tmp_path, 20)
        assert raised.value.message == "the trainer failed with status 1; the server's log says why"
        (logged,) = caplog.messages
        assert logged == f'the trainer failed with status 1: File "{script}", line 3, in <module> | {told}'
