"""`attune lab ablate`: what its table says of a part."""

from typing import Any

from typer.testing import CliRunner

from lab.cli import app
from lab.prelude import ablate, ablation


def _figures(cost: float, first: float, zero: float) -> dict[str, Any]:
    return {
        "cumulative_cost_mean": cost, "cumulative_cost_sd": 5.0, "first_encounters": first,
        "zero_edit_last_quarter": zero, "learner_tokens_in": 900.0, "learner_tokens_out": 100.0,
    }  # fmt: skip


def test_a_part_is_compared_with_the_whole_learner_after_the_first_encounters() -> None:
    found = {
        "nothing": {"email": _figures(150, 100, 0.9), "summary": _figures(200, 130, 0.8)},
        "likeness": {"email": _figures(180, 100, 0.85), "summary": _figures(190, 130, 0.8)},
    }
    table = ablate.table(found)
    whole, part = table.rows
    assert whole == ("nothing", "", "150 ± 5 / 200 ± 5", "50 / 70", "+0 / +0", "90% / 80%", "1,000 / 1,000")
    assert part[:2] == ("likeness", ablation.PARTS["likeness"])
    assert part[3:5] == ("80 / 60", "+30 / -10")
    assert table.markdown().count("\n") == 3


def test_a_part_that_there_is_not_is_said() -> None:
    result = CliRunner().invoke(app, ["ablate", "--part", "luck"])
    assert result.exit_code == 2
    assert "there is no part 'luck'" in result.output


def test_a_table_of_some_parts_is_not_put_into_the_docs() -> None:
    result = CliRunner().invoke(app, ["ablate", "--part", "fading", "--write-docs"])
    assert result.exit_code == 2
    assert "--write-docs needs every part" in result.output
