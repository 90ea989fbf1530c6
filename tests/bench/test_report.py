"""Every benchmark's report: its file, its tables, and its place in a document."""

import json
from pathlib import Path

import pytest

from bench import (
    adapters_report,
    embedding,
    gateway_report,
    rates_report,
    recall_report,
    recipes_report,
    training_report,
)
from lab import report

PLACES = [
    *((module.DOCS, module.MARK) for module in (gateway_report, adapters_report, recall_report, recipes_report)),
    *((module.DOCS, module.MARK) for module in (rates_report, embedding)),
    (training_report.DOCS, "bench-training"),
    (training_report.DOCS, "bench-training-gpu"),
]


@pytest.mark.parametrize(("document", "mark"), PLACES, ids=lambda part: getattr(part, "name", part))
def test_the_document_has_the_marks(document: Path, mark: str) -> None:
    text = document.read_text()
    assert text.index(f"<!-- {mark} -->") < text.index(f"<!-- /{mark} -->")


def test_a_report_is_written_shown_and_put_between_its_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Before\n<!-- mark -->\nstale\n<!-- /mark -->\nafter\n")
    parts: list[report.Table | str] = [
        "Said.",
        report.Table(["figure", "value"], [["`a`", "1"]], "Figures"),
        "![A picture](a.png)",
    ]
    report.conclude({"a": 1}, parts, [tmp_path / "out" / "a.json", None], document, "mark")
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == {"a": 1}
    assert document.read_text() == (
        "# Before\n<!-- mark -->\nSaid.\n\nFigures:\n\n| figure | value |\n|---|---:|\n| `a` | 1 |\n\n"
        "![A picture](a.png)\n<!-- /mark -->\nafter\n"
    )
    shown = capsys.readouterr().out
    assert "Said." in shown
    assert "a.png" not in shown
    assert "`" not in shown


def test_a_document_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!-- mark -->\n")
    with pytest.raises(ValueError, match="has no <!-- mark -->"):
        report.put(document, "mark", "new")
    assert document.read_text() == "<!-- mark -->\n"
