"""Thumbs: learned from by KTO, beside edits, in batches that are whole and mixed."""

from typing import Any

import pytest

from adapters.objective import Objective
from adapters.training.recipes import dpo, ensemble, kto, sft
from adapters.training.recipes.setup import Row
from tests.adapters.training.recipes.conftest import KTO, thumbs

pytestmark = pytest.mark.timeout(900)


def test_kto_learns_from_thumbs_beside_edits(rows: list[Row]) -> None:
    edited = next(row for row in rows if "rejected" in row)
    accepted = next(row for row in rows if "rejected" not in row)
    up, down = thumbs([edited])
    made = kto.examples([edited, up, accepted, down], KTO)
    assert [(one["completion"], one["label"]) for one in made] == [
        (edited["completion"], True),
        (edited["rejected"], False),
        (up["completion"], True),
        (accepted["completion"], True),
        (down["completion"], False),
    ]
    assert all(one.keys() == {"prompt", "completion", "label"} for one in made)


@pytest.mark.parametrize("recipe", [sft, dpo, ensemble])
def test_other_recipes_learn_nothing_from_thumbs(recipe: Any, rows: list[Row]) -> None:
    changed = [row for row in rows if "rejected" in row]
    objective = Objective("dpo")
    assert recipe.examples([*thumbs(changed), *rows], objective) == recipe.examples(rows, objective)


def test_kto_needs_right_and_wrong_answers() -> None:
    right = [{"label": True}] * 9
    assert kto.lacks([*right, *[{"label": False}] * kto.MIN_EACH]) is None
    assert kto.lacks(right) == f"9 right and 0 wrong answers are too few: {kto.MIN_EACH} of each are needed"


def test_kto_batches_are_whole_and_mixed(rows: list[Row]) -> None:
    found = kto.examples(rows, KTO)
    assert [row["label"] for row in found].count(True) == len(rows)
    mixed = kto._mixed(found, 8, seed=1)
    assert len(mixed) % 8 == 0
    assert len(mixed) < len(found) + 8
    assert all(row in mixed for row in found)
