"""The benchmark of the embedding measures what it says, on a few texts."""

from bench.embedding import GOAL_MS, arms, measure, parts
from lab.report import markdown


def test_a_small_run_measures_every_arm() -> None:
    result = measure(["Write an email to Ann.", "SQL: invoices by month.", "Warum ist der Himmel blau?"])
    assert list(result["arms"]) == list(arms())
    assert all(0 < arm["min_ms"] <= arm["p50_ms"] for arm in result["arms"].values())
    assert 0.98 < result["cosine_min"] <= result["cosine_p50"] <= 1.0001
    assert result["goal_met"] == (result["arms"]["kind of task"]["p50_ms"] <= GOAL_MS)
    about = {"date": "2026-01-01", "commit": "0123456789", "machine": {"processor": "a chip", "load_average_1m": 0.5}}
    text = markdown(parts(result | about))
    assert text.count("\n| ") == 1 + len(result["arms"])
    assert "a chip" in text
