"""A server that is killed over and over loses no acknowledged edit; `make bench-crash` does it hundreds of times."""

from pathlib import Path

import pytest
from sqlalchemy import select

from bench.crash.harness import Harness
from store.tables import jobs
from tests.server.conftest import UNEXPLAINED, Start, ask, until
from tests.server.fake_engine import FakeEngine, Script

KILLS = 24


@pytest.mark.timeout(1200)
async def test_nothing_acknowledged_is_lost_or_doubled_by_kills(empty_url: str, tmp_path: Path) -> None:
    report = await Harness(empty_url, tmp_path, seed=7).run(KILLS)
    assert report.clean, report
    assert report.kills == KILLS
    assert report.acknowledged["edits"] > KILLS
    assert report.jobs_taken_over > 0
    assert report.versions.get("ready", 0) + report.versions.get("deleted", 0) > 0


def test_workers_give_their_jobs_back_when_the_time_to_stop_is_over(start: Start, engine: FakeEngine) -> None:
    running = start(worker_in_process=True)
    answer = running.client().chat.completions.create(**ask(), extra_headers={"X-User-Id": "ann"})
    engine.enqueue(Script(hang=True))  # what the learner asks
    sent = {"type": "edit", "completion_id": answer.id, "edited_text": UNEXPLAINED}
    accepted = running.http().post("/v1/feedback", json=sent, headers={"X-User-Id": "ann"})
    assert accepted.status_code == 202
    until(lambda: len(engine.requests) == 2)
    services = running.services
    services.tasks[0].get_loop().call_soon_threadsafe(services.cut)
    until(lambda: services.database.read_now(lambda c: c.execute(select(jobs)).one()).state == "queued")
    row = services.database.read_now(lambda c: c.execute(select(jobs)).one())
    assert (row.attempt, row.deferrals, row.error) == (0, 0, None)
