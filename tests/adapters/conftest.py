"""A tiny base model, made here, and one adapter trained on it by the real trainer."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.recipe import Recipe
from adapters.training.trainer import TrainingJob
from tests.adapters.fakes import ANSWER, TINY_RECIPE, Trained

TEXTS = [
    "Write to Ann about the rent.",
    "Certainly: it is paid.",
    "request edited user assistant system values 0123456789",
]
RUN_ALL = """
import sys
from pathlib import Path
from adapters.training.trainer import TrainingJob
from adapters.training.trainer import train
for directory in map(Path, sys.argv[1:]):
    print("run", flush=True)
    train(directory, TrainingJob.read(directory))
"""


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 2-layer Llama with a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lab.tokenizer import train_tokenizer

    base = tmp_path_factory.mktemp("tiny") / "base"
    tokenizer = train_tokenizer(TEXTS * 20)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.1,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(base)
    written = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**written, "dtype": "float32"}))
    tokenizer.save_pretrained(base)
    return base


@pytest.fixture(scope="session")
def trained_twice(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Trained]:
    """Three runs in one process, whose imports take longer than the runs: twice the same, then another seed."""
    jobs: list[tuple[Path, Recipe]] = []
    for seed in (0, 0, 1):
        directory, recipe = tmp_path_factory.mktemp("run"), replace(TINY_RECIPE, seed=seed)
        rows = [
            {
                "prompt": [{"role": "user", "content": f"request {i}"}],
                "completion": [{"role": "assistant", "content": ANSWER}],
            }
            for i in range(12)
        ]
        rows.append({**rows[0], "prompt": [{"role": "user", "content": "0 1 2 3 " * 1000}]})
        (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        TrainingJob(str(tiny_base), recipe).write(directory)
        jobs.append((directory, recipe))
    command = [sys.executable, "-c", RUN_ALL, *(str(directory) for directory, _ in jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    outputs = done.stdout.split("run\n")[1:]
    return [
        Trained(directory, tiny_base, recipe, [json.loads(line) for line in output.splitlines()])
        for (directory, recipe), output in zip(jobs, outputs, strict=True)
    ]


@pytest.fixture(scope="session")
def trained(trained_twice: list[Trained]) -> Trained:
    return trained_twice[0]
