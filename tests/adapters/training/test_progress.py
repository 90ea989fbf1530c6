"""What is kept of a trainer's output."""

import json
from pathlib import Path
from typing import Any

from adapters.training import progress


def lines(steps: int) -> list[str]:
    made = [{"event": "step", "step": n, "steps": steps, "loss": 1 / n, "at": 100.0 + n} for n in range(1, steps + 1)]
    return [json.dumps(line) for line in made]


def kept(folder: Path, *printed: str) -> list[int]:
    (folder / progress.FILE).write_text("\n".join(printed))
    return [step["step"] for step in progress.read(folder)]


def test_few_steps_are_kept_whole_and_many_evenly(tmp_path: Path) -> None:
    assert kept(tmp_path, *lines(4)) == [1, 2, 3, 4]
    assert kept(tmp_path, *lines(400)) == [1, *range(40, 401, 40)]
    assert len(kept(tmp_path, *lines(12_345))) == progress.KEPT + 1
    assert progress.read(tmp_path)[0] == {"step": 1, "steps": 12_345, "loss": 1.0, "at": 101.0}


def test_what_is_kept_stays_as_more_is_printed(tmp_path: Path) -> None:
    printed = lines(97)
    whole = kept(tmp_path, *printed)
    for count in range(98):
        assert kept(tmp_path, *printed[:count]) == [step for step in whole if step <= count]


def test_other_lines_are_passed_over(tmp_path: Path) -> None:
    right = lines(3)
    other = ["", "Some weights were not used", "[1]", "null", '{"event": "done", "steps": 3}', right[1][:-9]]
    wrong: list[dict[str, Any]] = [
        {"step": 0},
        {"step": 4},
        {"steps": 0},
        {"loss": float("nan")},
        {"loss": None},
        {"step": "x"},
        {"at": []},
    ]
    other += [json.dumps({**json.loads(right[1]), **change}) for change in wrong]
    assert kept(tmp_path, right[0], *other, right[2]) == [1, 3]


def test_before_anything_is_printed(tmp_path: Path) -> None:
    assert progress.read(tmp_path) == []
