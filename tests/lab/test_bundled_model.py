"""The shipped model is the one that was measured, and the measurement met every target."""

import json
import random
from hashlib import sha256
from pathlib import Path

from transformers import AutoTokenizer

from lab.evaluate import TARGETS, evaluate
from lab.examples import write_example
from lab.tokenizer import CHAT_TEMPLATE

MODEL = Path(__file__).resolve().parents[2] / "lab" / "model"


def test_the_report_is_of_this_model_and_meets_every_target() -> None:
    report = json.loads((MODEL / "report.json").read_text())
    assert report["sha256"] == sha256((MODEL / "model.safetensors").read_bytes()).hexdigest()
    assert set(report["targets_met"]) == set(TARGETS)
    assert all(report["targets_met"].values())
    assert report["examples"] >= 400


def test_the_model_still_does_what_the_report_says() -> None:
    figures = evaluate(MODEL, examples=24, seed=7)
    assert figures["attributes"] >= 0.95
    assert figures["slots"] >= 0.95
    assert figures["inference_precision"] >= 0.85
    assert figures["merge_recall"] >= 0.55


def test_the_model_is_small_and_its_template_is_ours() -> None:
    assert sum(f.stat().st_size for f in MODEL.iterdir()) <= 20 << 20
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    assert tokenizer.chat_template == CHAT_TEMPLATE
    messages = write_example(random.Random(0)).messages
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    assert text.endswith("<|im_start|>assistant\n")
    assert all(m["content"] in text for m in messages)
