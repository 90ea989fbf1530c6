import json
import math
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.validation import base_sha256, validate
from adapters.recipe import LINEAR_LAYERS, Recipe
from adapters.training.amount import SMALL_MODEL, amount
from adapters.training.trainer import TrainingJob, steps_for
from tests.adapters.fakes import ANSWER, Trained


def tensors(directory: Path) -> dict[str, bytes]:
    from safetensors.torch import load_file

    return {k: v.numpy().tobytes() for k, v in load_file(directory / "adapter_model.safetensors").items()}


def test_steps_stay_within_their_bounds() -> None:
    recipe = Recipe(epochs=8, batch_size=8, min_steps=32, max_steps=100)
    assert [steps_for(rows, recipe, 10**9) for rows in (1, 32, 40, 64, 10_000)] == [32, 32, 40, 64, 100]


def test_what_a_recipe_leaves_open_is_by_the_size_of_the_model_and_the_number_of_rows() -> None:
    small, real = SMALL_MODEL - 1, SMALL_MODEL
    assert [steps_for(rows, Recipe(), small) for rows in (8, 48, 10_000)] == [32, 72, 400]
    assert [steps_for(rows, Recipe(), real) for rows in (4, 24, 48, 200, 10_000)] == [12, 36, 36, 100, 400]
    assert amount(small, 48).batch_size == 8
    assert steps_for(48, Recipe(epochs=1, batch_size=8), real) == 12


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = TrainingJob("base", Recipe(rank=4, target_modules=("q_proj",), learning_rate=1e-4))
    job.write(tmp_path)
    assert TrainingJob.read(tmp_path) == job
    (tmp_path / "job.json").write_text(json.dumps({"model": "x", "recipe": {"target_modules": [], "nonsense": 1}}))
    with pytest.raises(TypeError, match="nonsense"):
        TrainingJob.read(tmp_path)


def test_the_lora_moved_and_every_layer_has_one(trained: Trained) -> None:
    from safetensors.torch import load_file

    weights = load_file(trained.adapter / "adapter_model.safetensors")
    assert len(weights) == 2 * 2 * len(LINEAR_LAYERS)
    # A LoRA starts with B = 0; a B that is not zero has learned something.
    assert all(value.abs().max() > 0 for name, value in weights.items() if "lora_B" in name)


def test_the_base_did_not_move(trained: Trained) -> None:
    before = base_sha256(trained.base)
    assert before == base_sha256(trained.base)
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(trained.base)
    stored = load_file(trained.base / "model.safetensors")
    model = PeftModel.from_pretrained(base, str(trained.adapter))
    for name, value in model.get_base_model().state_dict().items():
        plain = name.replace(".base_layer", "")
        if plain in stored:
            assert value.equal(stored[plain].to(value.dtype))


def test_the_adapter_writes_what_it_was_taught_and_stops(trained: Trained) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(trained.base)
    base = AutoModelForCausalLM.from_pretrained(trained.base)
    asked = [{"role": "user", "content": "request 77"}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]

    def answer(model: Any) -> str:
        out = model.generate(ids, attention_mask=ids.new_ones(ids.shape), max_new_tokens=40, do_sample=False)
        return str(tokenizer.decode(out[0, ids.shape[1] :]))

    assert answer(base) != f"{ANSWER}<|im_end|>"
    assert answer(PeftModel.from_pretrained(base, str(trained.adapter))) == f"{ANSWER}<|im_end|>"


def test_equal_seeds_give_equal_weights_and_another_seed_others(trained_twice: list[Trained]) -> None:
    first, again, other = (tensors(run.adapter) for run in trained_twice)
    assert first == again
    assert first != other


def test_figures_and_progress(trained: Trained) -> None:
    figures = json.loads((trained.directory / "figures.json").read_text())
    assert figures["loss_last"] < 0.5 * figures["loss_first"]
    assert (figures["rows"], figures["rows_too_long"], figures["steps"]) == (12, 1, 32)
    assert figures["learning_rate"] == 1e-2
    assert figures["tokens"] > 32 * 4  # steps of four rows
    assert [(line["event"], line["step"]) for line in trained.progress] == [("step", i) for i in range(1, 33)]
    assert all(math.isfinite(line["loss"]) for line in trained.progress)
    assert [line["at"] for line in trained.progress] == sorted(line["at"] for line in trained.progress)


def test_what_the_trainer_writes_is_valid(trained: Trained) -> None:
    validate(trained.adapter, trained.base, trained.recipe)
