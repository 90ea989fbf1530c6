import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.cli import app
from lab.report import Table
from lab.work import Work
from lab.writers import figures, report, scoring
from lab.writers.data import BadWriters, load, split
from lab.writers.scoring import Source
from preference.ports import TokenScores
from store.errors import ScoringUnavailable
from store.message import Message

WRITERS = ("A", "B", "C")


def content(rows: int = 9) -> dict[str, Any]:
    made = [
        {
            "id": f"row-{n}",
            "instruction": f"Write about {n}.",
            "draft": f"a draft about {n}",
            "edited": {writer: f"text {n} by {writer}" for writer in WRITERS},
        }
        for n in range(rows)
    ]
    return {"writers": list(WRITERS), "rows": made}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "writers.json"
    path.write_text(json.dumps(content()))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["rows"][2]["edited"].pop("B"), "row row-2 has no text by the writer B"),
        (lambda c: c["rows"].append(c["rows"][0]), "two rows have the same id"),
        (lambda c: c.update(writers=["A"]), "writers: Tuple should have at least 2 items"),
        (lambda c: c["rows"][0].pop("draft"), "rows.0.draft: Field required"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_in_a_sentence(tmp_path: Path, change: Any, said: str) -> None:
    broken = content()
    change(broken)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    with pytest.raises(BadWriters, match=said):
        load(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--learn", "6"], "The file has 9 edits of each writer; to learn from 6 and test on 15 takes 21."),
        (["--learn", "2", "--test", "3"], "At least 4 edits are needed to test on, not 3."),
        (["--kind", "guesses"], "There is no kind 'guesses'"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_starts(file: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["writers", str(file), "--out", str(file.parent / "out"), *options])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())


class Lover:
    """Finds a text likelier by a nat a token where the prompt has the text's author; counts what it is asked."""

    def __init__(self, limit: int = 10**6) -> None:
        self.asked = 0
        self._limit = limit

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        if self.asked >= self._limit:
            raise ScoringUnavailable("The engine gives no prompt_logprobs.")
        self.asked += 1
        found = []
        for prompt, text in pairs:
            loved = f"like {text.split()[-1]}" in str(prompt)
            tokens = tuple(hash(word) for word in text.split())
            found.append(TokenScores(tokens, (-1.0 if loved else -2.0,) * len(tokens)))
        return found


async def test_own_minus_other_is_what_is_learned_and_nothing_is_scored_twice(file: Path, tmp_path: Path) -> None:
    held = split(load(file), 3, 6)
    work = Work(tmp_path / "work")
    sources = [
        Source(scoring.PREFERENCES, scoring.NONE),
        Source(scoring.PREFERENCES, scoring.CONSTANT, texts={row.id: ["Be brief."] for row in held.tested}),
        *(Source(scoring.PREFERENCES, w, texts={row.id: [f"Write like {w}."] for row in held.tested}) for w in WRITERS),
    ]
    killed = Lover(limit=7)
    with pytest.raises(ScoringUnavailable):
        await scoring.score(held, sources, killed, "m", work, lambda: None)
    lover = Lover()
    await scoring.score(held, sources, lover, "m", Work(tmp_path / "work"), lambda: None)
    assert killed.asked + lover.asked == len(sources) * len(held.tested)
    told = figures.compared(Work(tmp_path / "work"), held, sources, sources[0], "m")
    assert told["all_tokens"]["own_minus_other"] == {"mean": 1.0, "interval": [1.0, 1.0]}
    assert told["all_tokens"]["p"] < 0.01
    assert told["constant_list_gain"]["mean"] == 0.0


def test_what_pleases_all_writers_alike_scores_nothing() -> None:
    """A list that makes every edited text likelier, whoever wrote it: own minus other is 0, and so is its interval."""
    gains = np.ones((15, 3, 3))
    assert figures.figures(gains, WRITERS)["own_minus_other"] == {"mean": 0.0, "interval": [0.0, 0.0]}
    noise = np.random.default_rng(1).normal(0, 1, (15, 3, 3))
    assert figures.figures(noise, WRITERS)["p"] > 0.05


def test_the_report_has_a_row_for_each_writer() -> None:
    gains = np.random.default_rng(2).normal(0.1, 0.1, (15, 3, 3))
    of = {part: figures.figures(gains, WRITERS) for part in ("all_tokens", "changed_tokens")}
    kinds = {"preferences": {**of, "scorer": "m", "held": {"A": 1}, "recalled": 0.5, "constant_list_gain": {"mean": 0}}}
    told = {"kinds": kinds, "learned": 20}
    table, sentence = report.report(told)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["preferences"] * 2 + [f"preferences of {w}" for w in WRITERS]
    assert "own − other is 0" in str(sentence)
