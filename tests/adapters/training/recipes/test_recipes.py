"""Every recipe on the bundled model, a few steps each: what it says it moves, and nothing else, moves."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.validation import validate
from adapters.objective import Objective
from adapters.training.recipes import contrast, dpo, sampling, spa
from adapters.training.recipes.setup import Row
from adapters.training.trainer import PARENT, TrainingJob
from tests.adapters.training.recipes.conftest import BASE, DPO, KTO, LONGER, RECIPE, Judge, Trained, thumbs
from tests.adapters.training.recipes.test_pairs import setup

pytestmark = pytest.mark.timeout(900)
RUNS = {
    "sft": RECIPE,
    "dpo": replace(RECIPE, objective=DPO),
    "dpo again": replace(RECIPE, objective=DPO),
    "dpo, recomputed": replace(RECIPE, objective=DPO, activation_gib=0.0),
    "forward": replace(RECIPE, objective=replace(DPO, divergence="forward_kl")),
    "jensen-shannon, robust": replace(RECIPE, objective=replace(DPO, divergence="js_divergence", flipped=0.1)),
    "alpha": replace(RECIPE, objective=replace(DPO, divergence="alpha_divergence")),
    "kto": replace(RECIPE, objective=KTO),
    "kto again": replace(RECIPE, objective=KTO),
    "thumbs": replace(RECIPE, objective=KTO),
    "thumbs, sft": RECIPE,
    "ensemble": replace(RECIPE, objective=Objective("ensemble")),
    "gap": replace(RECIPE, objective=replace(DPO, gap_weights=True), batch_size=64, min_steps=2, max_steps=2),
    "contrast": replace(RECIPE, objective=Objective("ensemble", contrast=True, gap_weights=True)),
    "spa": replace(LONGER, objective=Objective("ensemble", spa_rounds=1)),
    "spa again": replace(LONGER, objective=Objective("ensemble", spa_rounds=1)),
    "continued": replace(RECIPE, objective=replace(DPO, continued=True)),
    "few": replace(RECIPE, objective=DPO, min_steps=2, max_steps=2),
}


RUN_ALL = """
import json, shutil, sys
from pathlib import Path
from adapters.training.trainer import TrainingJob
from adapters.training.trainer import train
for directory in map(Path, json.loads(sys.argv[1])):
    if directory.name == "continued":
        shutil.copytree(directory.parent / "ensemble" / "adapter", directory / "serving")
    train(directory, TrainingJob.read(directory))
"""


@pytest.fixture(scope="module")
def runs(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """All runs in one process, whose imports take longer than a run."""
    root = tmp_path_factory.mktemp("runs")
    changed = [row for row in rows if "rejected" in row]
    accepted = [row for row in rows if "rejected" not in row]
    too_long = {**changed[0], "prompt": [{"role": "user", "content": "0 1 2 3 " * 1000}]}
    given = {"few": [*changed[:3], *accepted], "dpo": [*rows, too_long], "dpo again": [*rows, too_long]}
    given |= {"thumbs": [*accepted, *thumbs(changed)], "thumbs, sft": [*rows, *thumbs(changed)]}
    for name, recipe in RUNS.items():
        (root / name).mkdir()
        lines = "".join(json.dumps(row) + "\n" for row in given.get(name, rows))
        (root / name / "train.jsonl").write_text(lines)
        TrainingJob(str(BASE), recipe).write(root / name)
    command = [sys.executable, "-c", RUN_ALL, json.dumps([str(root / name) for name in RUNS])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Trained(root / name, json.loads((root / name / "figures.json").read_text())) for name in RUNS}


def test_every_adapter_is_valid_and_learned_something(runs: dict[str, Trained]) -> None:
    for name, run in runs.items():
        validate(run.directory / "adapter", BASE, RUNS[name])
        assert run.figures["recipe"] == ("sft" if name == "few" else RUNS[name].objective.name)
        assert any(any(value) for layer, value in run.weights().items() if "lora_B" in layer)


def test_sft_makes_edits_likelier(runs: dict[str, Trained], judge: Judge) -> None:
    assert runs["sft"].figures["loss_last"] < runs["sft"].figures["loss_first"]
    assert judge.gains(runs["sft"])[0] > 1


@pytest.mark.parametrize("name", ["dpo", "forward", "jensen-shannon, robust", "alpha", "kto", "thumbs"])
def test_preference_losses_part_edits_from_drafts(name: str, runs: dict[str, Trained], judge: Judge) -> None:
    figures = runs[name].figures
    edits, drafts = judge.gains(runs[name])
    assert edits - drafts > 1
    assert figures["margin_last"] > figures["margin_first"] + 0.1
    assert figures["loss_last"] < figures["loss_first"]


def test_divergences_are_different_losses(runs: dict[str, Trained]) -> None:
    names = ("dpo", "forward", "jensen-shannon, robust", "alpha")
    assert len({runs[name].figures["margin_last"] for name in names}) == len(names)


def test_the_ensemble_does_both(runs: dict[str, Trained], judge: Judge, rows: list[Row]) -> None:
    edits, drafts = judge.gains(runs["ensemble"])
    assert edits > judge.gains(runs["dpo"])[0]
    assert edits - drafts > 1
    assert runs["ensemble"].figures["rows"] == len(rows)  # accepted answers, too
    # What an untrained adapter loses: log 2 for each preference, and the edits' negative log-likelihood a token.
    assert runs["ensemble"].figures["loss_first"] > math.log(2) + 1


@pytest.mark.parametrize("name", ["dpo", "kto", "spa"])
def test_equal_seeds_give_equal_weights(name: str, runs: dict[str, Trained]) -> None:
    assert runs[name].weights() == runs[f"{name} again"].weights()


def test_long_rows_are_left_out_and_counted(runs: dict[str, Trained], rows: list[Row]) -> None:
    changed = sum("rejected" in row for row in rows)
    assert (runs["dpo"].figures["rows"], runs["dpo"].figures["rows_too_long"]) == (changed, 1)
    by_kind = {"edited": changed, "accepted": len(rows) - changed, "thumbs": 0, "ranked": 0, "contrast": 0}
    assert runs["ensemble"].figures["rows_by_kind"] == by_kind


def test_the_loss_is_weighed_by_the_gap_of_each_pair(runs: dict[str, Trained], rows: list[Row]) -> None:
    # The first step is over all pairs, whose margin is still 0: each loses log 2 times its own weight.
    weights = [2 - 2 ** (1 - row["cost"]) for row in rows if "rejected" in row]
    assert min(weights) < max(weights) < 1
    expected = math.log(2) * sum(weights) / len(weights)
    assert runs["gap"].figures["loss_first"] == pytest.approx(expected, rel=1e-5)


def test_other_values_give_further_pairs(runs: dict[str, Trained], judge: Judge) -> None:
    figures = runs["contrast"].figures
    assert 0 < figures["rows_by_kind"]["contrast"] <= contrast.MAX_PAIRS
    assert figures["rows"] == sum(figures["rows_by_kind"].values())
    assert judge.gains(runs["contrast"])[0] > judge.gains(runs["contrast"])[1]


def test_spa_learns_from_its_own_pairs(runs: dict[str, Trained]) -> None:
    (told,) = runs["spa"].figures["spa"]
    assert told["learned"]
    assert told["pairs"] >= spa.MIN_PAIRS
    assert told["margin_last"] > 0
    assert 0 < told["smoothed"] < told["pairs"]
    # TRL's reference, an adapter of its own, is not among what is saved.
    assert sorted(path.name for path in (runs["spa"].directory / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_training_goes_on_from_a_version_which_is_its_reference(runs: dict[str, Trained], judge: Judge) -> None:
    figures = runs["continued"].figures
    assert figures["continued"]
    assert not runs["dpo"].figures["continued"]
    # Against the base its margin would be the ensemble's already.
    assert (figures["margin_first"], figures["loss_first"]) == (0, pytest.approx(math.log(2)))
    assert runs["ensemble"].figures["margin_last"] > 0.1
    before, after = (judge.gains(runs[name])[0] - judge.gains(runs[name])[1] for name in ("ensemble", "continued"))
    assert after > before
    serving = runs["continued"].directory / PARENT / "adapter_model.safetensors"
    assert serving.read_bytes() == (runs["ensemble"].directory / "adapter" / serving.name).read_bytes()


def test_recomputed_activations_change_memory_alone(runs: dict[str, Trained], judge: Judge) -> None:
    assert runs["dpo, recomputed"].figures["gradient_checkpointing"]
    assert not runs["dpo"].figures["gradient_checkpointing"]
    assert judge.gains(runs["dpo, recomputed"]) == pytest.approx(judge.gains(runs["dpo"]), rel=0.02)


def test_too_few_pairs_give_way_to_sft(runs: dict[str, Trained]) -> None:
    figures = runs["few"].figures
    assert figures["instead_of"] == {
        "recipe": "dpo",
        "reason": f"3 pairs of draft and edit are too few: {dpo.MIN_PAIRS} are needed",
    }
    assert figures["rows"] == figures["rows_by_kind"]["edited"] + figures["rows_by_kind"]["accepted"]
    assert "margin_first" not in figures


def test_thumbs_are_counted_and_sft_is_the_same_without_them(runs: dict[str, Trained], rows: list[Row]) -> None:
    changed = sum("rejected" in row for row in rows)
    kinds = runs["thumbs"].figures["rows_by_kind"]
    accepted = len(rows) - changed
    assert kinds == {"edited": 0, "accepted": accepted, "thumbs": 2 * changed, "ranked": 0, "contrast": 0}
    assert runs["thumbs"].figures["rows"] == len(rows) + changed
    assert runs["thumbs, sft"].figures["rows"] == len(rows)
    assert runs["thumbs, sft"].weights() == runs["sft"].weights()


def test_own_pairs_are_labelled_by_what_the_adapter_gained_on_the_base(
    runs: dict[str, Trained], rows: list[Row], judge: Judge
) -> None:
    row = next(row for row in rows if "rejected" in row)
    edit, draft = (row[name][0]["content"] for name in ("completion", "rejected"))
    with judge.adapted(runs["dpo"]) as model:
        likelihoods = sampling.log_probabilities(model, judge.tokenizer, row["prompt"], [edit, draft])
        assert likelihoods[1] > likelihoods[0]  # the draft is the likelier one still
        for texts in ([edit, draft], [draft, edit]):
            assert spa.ranked(model, judge.tokenizer, row["prompt"], texts) == [edit, draft]


def test_answers_that_drift_in_length_end_the_rounds(
    runs: dict[str, Trained], rows: list[Row], judge: Judge, tmp_path: Path
) -> None:
    human = [{"chosen": [{"content": "four"}]}]
    assert spa.drift([{"chosen": [{"content": "four" * 2}]}, {"chosen": [{"content": "four" * 4}]}], human) == 3

    def never(trainer: Any) -> tuple[Any, dict[str, float]]:
        raise AssertionError("trained")

    twice = [{"role": "assistant", "content": rows[0]["completion"][0]["content"] * 2}]
    pair = {"prompt": rows[0]["prompt"], "chosen": twice, "rejected": rows[1]["completion"]}
    setting = setup(judge, tmp_path, Objective("dpo", spa_rounds=2))
    with judge.adapted(runs["dpo"]) as model:
        same, report = spa.rounds(setting, model, [pair], never, 1e-3)
    assert same is model
    assert [told["learned"] for told in report] == [False]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gap_weights": True}, "gap_weights: only for dpo and ensemble"),
        ({"name": "kto", "contrast": True, "spa_rounds": 1}, "contrast, spa_rounds: only for"),
        ({"name": "dpo", "spa_rounds": 3}, "between 0 and 2"),
        ({"name": "dpo", "flipped": 0.5}, "flipped in"),
        ({"beta": 0.0}, "above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Objective(**options)
