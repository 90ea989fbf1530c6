"""The benchmark of learning, for a few rounds on the real server: what it measures is what it should."""

import json
from pathlib import Path

from typer.testing import CliRunner

from lab.cli import app
from lab.prelude import log
from lab.work import Work

ROUNDS = 10


def test_a_short_play_of_three_arms(server: str, tmp_path: Path) -> None:
    out = tmp_path / "prelude"
    command = ["bench", "--url", server, "--environment", "email", "--variant", "plain", "--arms", "none,oracle,attune"]
    sizes = ["--rounds", str(ROUNDS), "--seeds", "1", "--out", str(out), "--json", str(tmp_path / "figures.json")]
    result = CliRunner().invoke(app, [*command, *sizes])
    assert result.exit_code == 0, result.stderr
    lines = log.read(Work(out / "rounds.jsonl"))
    assert {(line.arm, line.number) for line in lines} == {
        (arm, number) for arm in ("none", "oracle", "attune") for number in range(ROUNDS)
    }
    arms = json.loads((tmp_path / "figures.json").read_text())["environments"]["email"]["arms"]
    cost = {arm: arms[arm]["cumulative_cost_mean"] for arm in arms}
    assert cost["oracle"] < 0.3 * cost["none"]
    assert cost["oracle"] <= cost["attune"] < cost["none"]
    learned = [line for line in lines if line.arm == "attune" and line.preferences]
    assert learned
    assert all(line.expense.answer_in > 0 for line in lines)
