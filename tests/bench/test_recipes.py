"""The recipes' benchmark: what is tried, that a stopped run goes on, and what its table says."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from bench import recipes, recipes_report
from bench.machine import about, commit
from bench.recipes import EDITS, RECIPES, Outcome, Trial
from lab import report
from lab.work import Work


def _outcome(trial: Trial, cost: float) -> Outcome:
    return Outcome(trial, cost, 0.25, 1.5, 0.5, seconds=10.0, steps=36, commit="c0ffee1")


def test_every_recipe_is_tried_with_every_number_of_edits_and_the_base_once_a_user() -> None:
    made = recipes.trials(EDITS, 2)
    assert len(made) == len(set(made)) == 2 * (1 + (len(RECIPES) - 1) * len(EDITS))
    assert {trial.recipe for trial in made} == set(RECIPES)


def test_what_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    done = [_outcome(Trial("sft", 16, 0), 20.0), _outcome(Trial("sft", 48, 0), 12.0)]
    for outcome in done:
        Work(tmp_path / "outcomes.jsonl").add("outcome", "", str(outcome.trial), **asdict(outcome))
    wanted = [outcome.trial for outcome in done]
    told = [asdict(outcome) for outcome in done]
    assert recipes.run(wanted, tmp_path, 1, Console(quiet=True)) == told
    assert recipes.run(wanted[:1], tmp_path, 1, Console(quiet=True)) == told, "what was tried before is reported too"


def test_whichever_numbers_are_asked_for_the_base_is_the_same_trial() -> None:
    assert {t for t in recipes.trials([48], 1) if t.recipe == "base"} == {Trial("base", EDITS[0], 0)}


def test_the_base_model_alone_knows_nothing_of_its_user_and_obeys_when_told() -> None:
    found = recipes.attempt(Trial("base", 16, 0), asked=4)
    assert found.cost > 10 * found.told_cost
    assert found.commit == commit()


def test_trials_of_other_rates_stand_apart() -> None:
    trials = recipes.trials([16], 1, [0.003, 0.01])
    outcomes = [asdict(_outcome(trial, 20.0)) for trial in trials if trial.recipe in ("base", "sft")]
    names = ["base", "sft, rate 0.003", "sft, rate 0.01"]
    result = recipes_report.result(outcomes, about())
    assert list(result["recipes"]) == names
    assert [f"| {name} | 20.0" in report.markdown(recipes_report.parts(result)) for name in names] == [True] * 3


def test_the_table_has_means_over_users() -> None:
    outcomes = [
        _outcome(Trial("base", 16, 0), 40.0), _outcome(Trial("sft", 16, 0), 20.0), _outcome(Trial("sft", 16, 1), 10.0),
        _outcome(Trial("sft", 48, 0), 6.0), _outcome(Trial("dpo", 16, 0), 30.0),
    ]  # fmt: skip
    result = recipes_report.result([asdict(outcome) for outcome in outcomes], about())
    assert result["recipes"]["sft"]["16"] == {
        "cost": 15.0, "zero_edit": 0.25, "told_cost": 1.5, "told_zero_edit": 0.5, "seconds": 10.0,
        "steps": 36, "users": 2,
    }  # fmt: skip
    table = report.markdown(recipes_report.parts(result))
    assert "| sft | 15.0 (25% unedited) | 6.0 (25% unedited) | 1.5 / 1.5 | 10 / 10 |" in table
    assert "| dpo | 30.0 (25% unedited) | - |" in table
    assert ", commit c0ffee1, " in table


def test_outcomes_of_several_commits_say_so() -> None:
    lines = [asdict(_outcome(Trial("sft", 16, seed), 20.0)) for seed in range(3)]
    lines[-1]["commit"] = None
    told = report.markdown(recipes_report.parts(recipes_report.result(lines, about())))
    assert ", commits c0ffee1 (2 of 3 trials), unknown (1 of 3 trials), " in told


def test_an_unknown_recipe_is_said() -> None:
    result = CliRunner().invoke(recipes.app, ["--only", "luck"])
    assert result.exit_code == 2
    assert "no recipe 'luck'" in result.output
