import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench import training_report
from bench.shapes import Shape
from bench.training import Timed, app
from lab import report

ABOUT: dict[str, Any] = {
    "machine": {
        "processor": "some CPU", "cores": 2, "load_average_1m": 0.1, "load_average_1m_after": 0.9, "accelerator": None,
    },
    "versions": {"torch": "2"},
    "commit": "abc",
    "date": "2026-01-01",
}  # fmt: skip


def found() -> dict[str, Any]:
    alone, together = Timed(40, 20.0, 22.0, 16.0, 16.0, 1.25), Timed(640, 80.0, 88.0, 64.0, 64.0, 3.5)
    one, many = alone.per_step(), together.per_step()
    row = {
        "steps": together.steps,
        "milliseconds": {name: 1000 * value for name, value in many.items()},
        "speedup": {name: one[name] / value for name, value in many.items()},
        "peak_gib": together.peak_gib,
    }
    return {
        "model": "bundled", "threads": 1, "batch_size": 8, "activation_gib": None, "steps_each": [40, 40],
        "alone_milliseconds": {name: 1000 * value for name, value in one.items()}, "alone_peak_gib": alone.peak_gib,
        "together": {16: row}, "loss_steps_compared": 160, "max_loss_difference": 5e-4,
    }  # fmt: skip


def test_the_figures_that_matter_are_those_of_sixteen() -> None:
    result = training_report.result(found(), ABOUT)
    assert result["batched_training_speedup_16"] == 4
    assert result["batched_training_end_to_end_speedup_16"] == 4
    assert result["batched_training_max_loss_difference"] == 5e-4
    json.dumps(result)


@pytest.mark.parametrize(("accelerator", "mark"), [(None, "bench-training"), ("a GPU", "bench-training-gpu")])
def test_the_table_goes_where_its_machine_belongs(accelerator: str | None, mark: str) -> None:
    about = {**ABOUT, "machine": {**ABOUT["machine"], "accelerator": accelerator}}
    result = training_report.result(found(), about)
    assert training_report.mark(result) == mark
    text = report.markdown(training_report.parts(result))
    assert "| 16 at once | 100 ms, 4.0× | 100 ms, 4.0× | 125 ms, 4.0× | 138 ms, 4.0× | 3.5 GiB |" in text
    assert ("one a GPU" in text) is (accelerator is not None)


@pytest.mark.parametrize("wrong", ["--shape 7t", "--dtype int8", "--shape 0.5b --write-docs"])
def test_what_cannot_be_measured_is_refused_at_once(wrong: str) -> None:
    refused = CliRunner().invoke(app, wrong.split())
    assert refused.exit_code == 2


def test_a_shape_is_a_model_that_the_trainers_take(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sizes = {"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    shape = Shape("qwen2", {**sizes, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True})
    written = shape.write(tmp_path / "model", "bfloat16")
    model: Any = AutoModelForCausalLM.from_pretrained(written, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(written)
    assert str(model.dtype) == "torch.bfloat16"
    assert len(tokenizer) <= model.config.vocab_size
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
