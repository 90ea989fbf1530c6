"""Pairs and their weights, as the losses see them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.objective import Objective
from adapters.training.recipes import contrast, dpo, ensemble, gap, pairs, sampling, spa
from adapters.training.recipes.setup import Row, Setup
from tests.adapters.training.recipes.conftest import BASE, DPO, RECIPE, Judge

pytestmark = pytest.mark.timeout(900)


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
    from torch.nn.functional import logsigmoid

    margin = torch.tensor([-30.0, -1.0, 0.0, 5.0], requires_grad=True)
    found = spa.margin_of(-logsigmoid(margin))
    torch.testing.assert_close(found, margin, rtol=1e-4, atol=1e-4)
    found.sum().backward()
    torch.testing.assert_close(margin.grad, torch.ones(4), rtol=1e-3, atol=1e-3)


def test_every_batch_has_its_share_of_human_pairs() -> None:
    own = [{"n": number} for number in range(20)]
    human = [{"n": -1}, {"n": -2}]
    mixed = spa.mixed(own, human, 8, seed=0)
    batches = [mixed[start : start + 8] for start in range(0, len(mixed), 8)]
    assert [sum(row["own"] == 0 for row in batch) for batch in batches] == [2, 2, 2, 2]
    assert sorted(row["n"] for row in mixed if row["own"]) == list(range(20))
