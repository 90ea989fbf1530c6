"""The OpenAPI document is true: thousands of generated requests get what it says, and never an error of ours."""

from pathlib import Path

import pytest

from tests.server.fuzz import fuzz


@pytest.mark.timeout(900)
def test_every_answer_is_as_documented(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reports = fuzz(tmp_path, "--max-examples", "15")
    for report in reports:
        assert not report["failures"], capfd.readouterr().out
        assert not report["errors"], capfd.readouterr().out
    assert sum(report["operations"]["tested"] for report in reports) == reports[0]["operations"]["total"] > 25
    assert sum(report["test_cases"]["generated"] for report in reports) >= 3000
    rates = {operation: phases for report in reports for operation, phases in report["valid_rates"].items()}
    never = [operation for operation, phases in rates.items() if not any(p["accepted"] for p in phases.values())]
    assert never == []  # each route was reached with a request that it serves
