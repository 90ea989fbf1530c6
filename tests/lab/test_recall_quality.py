"""The hand-written requests are what they claim to be, and what is measured on them is counted right."""

import json
import re
from pathlib import Path

from rich.console import Console

from lab import recall_report
from lab.recall_quality import SPLITS, SWEEP_ALIKE, SWEEP_K, SWEEP_SPREAD, load, measure
from lab.report import DOCS, markdown, show
from preference.preferences import MAX_TEXT
from server.settings import Settings
from tests.preference.oracle import WordEmbedder

PEOPLE = load()


def test_there_are_twelve_users_of_ten_situations_half_of_them_for_choosing() -> None:
    assert [len(person.situations) for person in PEOPLE] == [10] * 12
    assert [sum(person.split == split for person in PEOPLE) for split in SPLITS] == [6, 6]
    assert sum(len(person.everywhere) for person in PEOPLE) == 10


def test_no_text_stands_twice_and_every_preference_can_be_stored() -> None:
    situations = [situation for person in PEOPLE for situation in person.situations]
    texts = [text for s in situations for text in (s.context, s.same, s.near_miss, s.preference)]
    assert len({text.casefold() for text in texts}) == len(texts)
    assert all(text == text.strip() and len(text.split()) >= 4 for text in texts)
    assert all(len(s.preference) <= MAX_TEXT for s in situations)


def line(**fields: object) -> str:
    return json.dumps(fields) + "\n"


async def test_figures_count_what_came(tmp_path: Path) -> None:
    """By words alone: the first situation is found again, the second is not, and the second's near miss misleads."""
    file = tmp_path / "pairs.jsonl"
    text = ""
    for user, split in (("ann", "dev"), ("bob", "test")):
        text += line(user=user, split=split, about="", everywhere=["Be kind."])
        text += line(
            user=user, situation="rent", context="letter about rent and heating", preference="Short.",
            same="letter about rent and heating please", near_miss="quarterly numbers",
        )  # fmt: skip
        text += line(
            user=user, situation="soup", context="a soup of carrots", preference="In grams.",
            same="something warm for dinner", near_miss="a soup of carrots costs what",
        )  # fmt: skip
    file.write_text(text)
    result = await measure(load(file), WordEmbedder())

    figures = {"recall": 0.5, "precision": 0.5, "f1": 0.5, "near_misses": 0.5, "misled": 0.5, "applied": 0.5}
    assert {name: result["dev"][name] for name in figures} == figures
    assert result["dev"]["precision_same"] == 1
    assert {name: result["users"]["bob"][name] for name in figures} == figures
    assert result["setting"]["k"] == Settings.model_fields["recall_k"].default
    assert result["setting"]["alike"] == Settings.model_fields["recall_min_score"].default
    assert len(result["sweep"]) >= len(SWEEP_K) * len(SWEEP_ALIKE) * len(SWEEP_SPREAD)
    own = {name: result["setting"][name] for name in ("k", "alike", "spread")}
    assert [found["dev"]["f1"] for found in result["sweep"] if own.items() <= found.items()] == [result["dev"]["f1"]]
    assert result["best_on_dev"]["dev"]["f1"] == max(found["dev"]["f1"] for found in result["sweep"])
    assert 0.5 <= result["test"]["mrr"] <= 1

    told = recall_report.report(result)
    show(told, Console(quiet=True))
    assert "| all of test | test | 0.50 |" in markdown(told)


def test_the_document_has_the_marks() -> None:
    text = (DOCS / "recall.md").read_text()
    assert re.search(f"<!-- {recall_report.MARK} -->.*<!-- /{recall_report.MARK} -->", text, re.DOTALL)
