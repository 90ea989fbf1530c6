"""A server that is killed over and over loses no acknowledged edit; `make bench-crash` does it hundreds of times."""

from pathlib import Path

import pytest

from bench.crash.harness import Harness

KILLS = 24


@pytest.mark.timeout(400)
async def test_nothing_acknowledged_is_lost_or_doubled_by_kills(empty_url: str, tmp_path: Path) -> None:
    report = await Harness(empty_url, tmp_path, seed=7).run(KILLS)
    assert report.clean, report
    assert report.kills == KILLS
    assert report.acknowledged["edits"] > KILLS
    assert report.jobs_taken_over > 0
    assert report.versions.get("ready", 0) + report.versions.get("deleted", 0) > 0
