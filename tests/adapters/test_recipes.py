"""Every recipe on the bundled model, a few steps each: what it says it moves, and nothing else, moves."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters import dataset
from adapters.objective import Objective
from adapters.recipes import contrast, dpo, ensemble, gap, kto, pairs, sampling, sft, spa
from adapters.recipes.memory import ACTIVATION_GIB, activation_bytes, activation_room, logit_bytes, peak_gib
from adapters.recipes.setup import Row, Setup
from adapters.train import SERVING, Recipe, TrainingJob
from adapters.validation import validate
from lab.lexicon import KINDS
from lab.render import render
from lab.simulated_user import SimulatedUser
from preference.values import Value
from tests.adapters.fakes import make_edit

pytestmark = pytest.mark.timeout(900)
BASE = Path(__file__).resolve().parents[2] / "lab" / "model"
RECIPE = Recipe(batch_size=4, min_steps=4, max_steps=4, threads=1, niceness=0)
LONGER = replace(RECIPE, min_steps=12, max_steps=12, learning_rate=6e-3)
DPO, KTO = Objective("dpo"), Objective("kto")
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
from adapters.train import TrainingJob, train
for directory in map(Path, json.loads(sys.argv[1])):
    if directory.name == "continued":
        shutil.copytree(directory.parent / "ensemble" / "adapter", directory / "serving")
    train(directory, TrainingJob.read(directory))
"""


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's folder, and what it says of itself."""

    directory: Path
    figures: dict[str, Any]

    def weights(self) -> dict[str, bytes]:
        from safetensors.torch import load_file

        file = self.directory / "adapter" / "adapter_model.safetensors"
        return {name: value.numpy().tobytes() for name, value in load_file(file).items()}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """A user's edits of neutral drafts, every fifth of them accepted, under one of two values."""
    kinds, rng = KINDS[:2], random.Random(0)
    user = SimulatedUser.invent([kind.name for kind in kinds], seed=1)
    edits = []
    for number in range(24):
        request = user.request(kinds[number % 2], rng)
        neutral = render(request.facts, {})
        edited = user.edit(request, neutral)
        values = [Value(preference=("Be formal", "Be brief")[number % 2])]
        asked = [{"role": "user", "content": request.text}]
        draft = edited if number % 5 == 4 else neutral
        edits.append(make_edit(number, edited, request=asked, answer=draft, values=values))
    return dataset.build(edits).rows


def thumbs(changed: Sequence[Row]) -> list[Row]:
    """What edits say, said by thumbs: one up for each edit, one down for each draft."""
    return [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "completion"}
        for row in changed
        for name in ("completion", "rejected")
    ]


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


class Judge:
    """Log-probabilities under the base and under an adapter, by plain peft and a plain forward pass."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(BASE)
        self.base = AutoModelForCausalLM.from_pretrained(BASE)
        self._rows = [row for row in rows if "rejected" in row][:3]

    @contextmanager
    def adapted(self, run: Trained) -> Iterator[Any]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(self.base, str(run.directory / "adapter"))
        yield model
        model.unload()

    @cache  # noqa: B019 - lives as long as the module's tests
    def gains(self, run: Trained) -> tuple[float, float]:
        """How much likelier an adapter made the edits, and the drafts, on average: nats a text."""
        found = []
        with self.adapted(run) as model:
            for row in self._rows:
                texts = [row[name][0]["content"] for name in ("completion", "rejected")]
                ours = sampling.log_probabilities(model, self.tokenizer, row["prompt"], texts)
                with model.disable_adapter():
                    base = sampling.log_probabilities(model, self.tokenizer, row["prompt"], texts)
                found.append([mine - theirs for mine, theirs in zip(ours, base, strict=True)])
        edits, drafts = (sum(column) / len(found) for column in zip(*found, strict=True))
        return edits, drafts


@pytest.fixture(scope="module")
def judge(rows: list[Row]) -> Judge:
    return Judge(rows)


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


def test_answers_under_corrupted_contexts_are_rejected(rows: list[Row]) -> None:
    told = [{**row, "corrupted": row["prompt"]} for row in rows if "rejected" in row][:2]
    tokenizer, model = _bundled()
    made = contrast.expand(model, tokenizer, [*told, *rows], RECIPE.max_tokens, "corrupted")
    assert 0 < len(made) <= 2
    assert all(
        row["completion"] != row["rejected"] and row["prompt"] in [one["prompt"] for one in told] for row in made
    )


def _bundled() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, AutoModelForCausalLM.from_pretrained(BASE)


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
    serving = runs["continued"].directory / SERVING / "adapter_model.safetensors"
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


def test_thumbs_are_counted_and_sft_is_the_same_without_them(runs: dict[str, Trained], rows: list[Row]) -> None:
    changed = sum("rejected" in row for row in rows)
    kinds = runs["thumbs"].figures["rows_by_kind"]
    accepted = len(rows) - changed
    assert kinds == {"edited": 0, "accepted": accepted, "thumbs": 2 * changed, "ranked": 0, "contrast": 0}
    assert runs["thumbs"].figures["rows"] == len(rows) + changed
    assert runs["thumbs, sft"].figures["rows"] == len(rows)
    assert runs["thumbs, sft"].weights() == runs["sft"].weights()


def test_kto_needs_right_and_wrong_answers() -> None:
    right = [{"label": True}] * 9
    assert kto.lacks([*right, *[{"label": False}] * kto.MIN_EACH]) is None
    assert kto.lacks(right) == f"9 right and 0 wrong answers are too few: {kto.MIN_EACH} of each are needed"


def test_an_accepted_answer_is_a_pair_with_itself_that_prefers_nothing(rows: list[Row]) -> None:
    accepted = next(row for row in rows if "rejected" not in row)
    made = ensemble.examples([accepted], Objective("ensemble", gap_weights=True))[0]
    assert made["chosen"] == made["rejected"] == accepted["completion"]
    assert made["weight"] == 0
    assert dpo.lacks([made] * 20) is not None


def test_gap_weights() -> None:
    assert [gap.weight(cost) for cost in (0.0, 1.0)] == [0.0, 1.0]
    assert gap.weight(0.5) == pytest.approx(2 - math.sqrt(2))


def setup(judge: Judge, tmp_path: Path, objective: Objective) -> Setup:
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    lora = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    arguments = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
                 "max_steps": 10, "seed": 0, "report_to": [], "disable_tqdm": True}  # fmt: skip
    return Setup(AutoModelForCausalLM.from_pretrained(BASE), judge.tokenizer, lora, objective, 4, arguments)


def written(tokenizer: Any, messages: list[dict[str, str]], asked: bool) -> str:
    """Messages in the model's template; if ``asked``, with the beginning of an answer."""
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
    return text


def gradient(trainer: Any) -> tuple[float, Any]:
    """Loss and one layer's gradient of the only pair."""
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    layer = next(value for name, value in trainer.model.named_parameters() if "lora_B" in name)
    return loss.item(), layer.grad.clone()


def test_a_pairs_weight_scales_its_preference_and_not_its_likelihood(
    rows: list[Row], judge: Judge, tmp_path: Path
) -> None:
    import torch

    row = next(row for row in rows if "rejected" in row)
    nll = -sampling.log_probabilities(judge.base, judge.tokenizer, row["prompt"], [row["completion"][0]["content"]])[0]
    skip, whole = (
        len(judge.tokenizer(written(judge.tokenizer, messages, asked))["input_ids"])
        for messages, asked in ((row["prompt"], True), (row["prompt"] + row["completion"], False))
    )
    found = {}
    for sft_weight, cost in ((None, 0.3), (None, 1.0), (2.0, 0.3), (2.0, 0.0)):
        setting = setup(judge, tmp_path, Objective("dpo", gap_weights=True))
        pair = dpo.pair({**row, "cost": cost}, setting.objective)
        found[sft_weight, cost] = gradient(dpo.trainer(setting, [pair], sft_weight))
    weight, likelihood = 2 - 2**0.7, 2 * nll / (whole - skip)
    expected = {(None, 0.3): weight * math.log(2), (None, 1.0): math.log(2),
                (2.0, 0.3): weight * math.log(2) + likelihood, (2.0, 0.0): likelihood}  # fmt: skip
    assert {case: loss for case, (loss, _) in found.items()} == pytest.approx(expected, rel=1e-4)
    slope = {case: gradient for case, (_, gradient) in found.items()}
    assert slope[None, 1.0].abs().max() > 0
    torch.testing.assert_close(slope[None, 0.3], weight * slope[None, 1.0])
    torch.testing.assert_close(slope[2.0, 0.3], slope[None, 0.3] + slope[2.0, 0.0])


def test_pairs_longer_than_what_trl_cuts_are_whole(rows: list[Row], judge: Judge, tmp_path: Path) -> None:
    row = {**rows[0], "prompt": [{"role": "user", "content": "0 " * 700}]}
    pair = {"prompt": row["prompt"], "chosen": row["completion"], "rejected": [{"role": "assistant", "content": "No"}]}
    for trainer in (
        dpo.trainer(setup(judge, tmp_path, DPO), [pair]),
        pairs.build(spa.SmoothedTrainer, setup(judge, tmp_path, DPO), [{**pair, "own": 0.0}]),
    ):
        batch = next(iter(trainer.get_train_dataloader()))
        text = judge.tokenizer.apply_chat_template(pair["prompt"] + pair["chosen"], tokenize=False)
        assert batch["input_ids"].shape[1] == len(judge.tokenizer(text)["input_ids"]) > 1024


def test_low_margins_of_own_pairs_are_smoothed_after_a_fifth_of_the_steps(
    rows: list[Row], judge: Judge, tmp_path: Path
) -> None:
    import torch
    from torch.nn.functional import logsigmoid

    pair = {"prompt": rows[0]["prompt"], "chosen": rows[0]["completion"], "rejected": rows[1]["completion"]}
    trainer = pairs.build(spa.SmoothedTrainer, setup(judge, tmp_path, DPO), [{**pair, "own": 1.0}])
    trainer.state.max_steps = 10

    def loss(margin: float, own: float = 1.0) -> float:
        return float(trainer.pair_loss(lambda: -logsigmoid(torch.tensor(margin)), own))

    def plain(margin: float) -> float:
        return -math.log(1 / (1 + math.exp(-margin)))

    for margin in (1.0, 2.0, 3.0, -1.0):
        assert loss(margin) == pytest.approx(plain(margin))
    trainer.state.global_step = 2
    assert loss(2.5) == pytest.approx(plain(2.5))
    assert loss(-2.0) == pytest.approx(0.9 * plain(-2.0) + 0.1 * plain(2.0))
    assert loss(-4.0, own=0.0) == pytest.approx(plain(-4.0))
    assert trainer.smoothed == 1


def test_a_margin_is_read_back_from_its_loss() -> None:
    import torch
    from torch.nn.functional import logsigmoid

    margin = torch.tensor([-30.0, -1.0, 0.0, 5.0], requires_grad=True)
    found = spa.margin_of(-logsigmoid(margin))
    torch.testing.assert_close(found, margin, rtol=1e-4, atol=1e-4)
    found.sum().backward()
    torch.testing.assert_close(margin.grad, torch.ones(4), rtol=1e-3, atol=1e-3)


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


def test_every_batch_has_its_share_of_human_pairs() -> None:
    own = [{"n": number} for number in range(20)]
    human = [{"n": -1}, {"n": -2}]
    mixed = spa.mixed(own, human, 8, seed=0)
    batches = [mixed[start : start + 8] for start in range(0, len(mixed), 8)]
    assert [sum(row["own"] == 0 for row in batch) for batch in batches] == [2, 2, 2, 2]
    assert sorted(row["n"] for row in mixed if row["own"]) == list(range(20))


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


def test_kto_batches_are_whole_and_mixed(rows: list[Row]) -> None:
    found = kto.examples(rows, KTO)
    assert [row["label"] for row in found].count(True) == len(rows)
    mixed = kto._mixed(found, 8, seed=1)
    assert len(mixed) % 8 == 0
    assert len(mixed) < len(found) + 8
    assert all(row in mixed for row in found)


def test_activations_grow_with_tokens_and_layers(judge: Judge) -> None:
    # 6 layers, 192 hidden units, 34 bytes a number in 16 bits
    assert activation_bytes(judge.base.config, 2, 100) == 34 * 100 * 6 * 192
    assert activation_bytes(judge.base.config, 4, 100) == 2 * 34 * 100 * 6 * 192
    # A logit, its gradient, and both in single precision with the log-probability.
    assert logit_bytes(judge.base.config, 2, 100) == (2 + 2 + 3 * 4) * 100 * judge.base.config.vocab_size


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


def test_room_for_activations_is_what_is_said_or_found() -> None:
    assert activation_room(0.0) == 0
    assert activation_room(2.0) == 2 * 2**30
    found = activation_room(None)
    assert found > 0 if torch.cuda.is_available() else found == ACTIVATION_GIB * 2**30


def test_the_most_memory_is_that_of_this_process_alone() -> None:
    """What the system counts as a child's own may begin with what its parent had."""
    code = "from adapters.recipes.memory import peak_gib; print(peak_gib())"
    held = bytearray(b"1") * 2**30
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(held) / 2**30 < peak_gib() or torch.cuda.is_available()
    assert float(told.stdout) < 0.9
