"""The default model's recipe: its texts meet their wishes, its rules see them, its training goes on where it was."""

import json
import random
import re
from collections import defaultdict
from io import StringIO
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest
from rich.console import Console
from safetensors.torch import load_file

from lab.assistant.drawing import draw
from lab.assistant.edit_examples import PROMPTS, edit_example
from lab.assistant.examples import SHARES, examples
from lab.assistant.seen import met
from lab.assistant.style import WISHES
from preference.prompt import preferences_block
from server.models.catalog import DEFAULT, TRAINED, WEIGHTS
from server.models.fetch import sha256

BUNDLED = Path(__file__).resolve().parents[2] / "lab" / "model"


def test_every_wish_is_met_by_the_text_that_was_made_for_it_and_hardly_by_another() -> None:
    rng = random.Random(5)
    met_by: dict[str, list[float]] = defaultdict(list)
    without: dict[str, list[float]] = defaultdict(list)
    for at in range(1500):
        drawn = draw(rng, rng.choice((1, 3)), held_out=bool(at % 2))
        for wish in drawn.wishes:
            met_by[wish.id].append(met(wish, drawn.text, drawn.draft))
            without[wish.id].append(met(wish, drawn.draft, drawn.draft))
    assert set(met_by) >= {kind.id for kind in WISHES if not kind.new} - {"no_contract"}, "drafts have no contractions"
    assert min(mean(shares) for shares in met_by.values()) > 0.75
    assert mean([share for shares in met_by.values() for share in shares]) > 0.97
    assert mean([share for shares in without.values() for share in shares]) < 0.12


def test_phrasings_that_are_held_out_are_never_trained() -> None:
    trained = "\n".join(
        message["content"] for example in islice(examples(3), 4000) for message in example.messages
    )  # fmt: skip
    said = 0
    for kind in WISHES:
        assert not set(kind.said) & set(kind.unsaid), kind.id
        for text in kind.unsaid:
            told = re.escape(text).replace(r"\{x\}", ".+").replace(r"\{kind\}", r"\w+")
            assert not re.search(rf"^- {told}$", trained, re.MULTILINE), text
        said += any(f"- {text}" in trained for text in kind.said)
    assert said > len(WISHES) / 2


def test_examples_are_in_the_layouts_of_the_server_and_equal_by_seed() -> None:
    some = list(islice(examples(1, [("Hello!", "Hello.", False)]), 400))
    assert some == list(islice(examples(1, [("Hello!", "Hello.", False)]), 400))
    assert {example.skill for example in some} == set(SHARES)
    heading = preferences_block(["x"]).splitlines()[1]
    assert sum(heading in example.messages[-1]["content"] for example in some) > 100
    assert all(example.answer.strip() for example in some)


def test_lessons_ask_as_the_learner_does_and_many_teach_nothing() -> None:
    rng = random.Random(2)
    edit_examples = [edit_example(rng) for _ in range(300)]
    assert all(messages[0] == {"role": "system", "content": PROMPTS.system} for messages, _ in edit_examples)
    nothing = sum(answer == "none" for _, answer in edit_examples)
    assert 0.2 < nothing / len(edit_examples) < 0.5
    lines = [line for _, answer in edit_examples if answer != "none" for line in answer.splitlines()]
    assert all(line.startswith("- ") and "{" not in line for line in lines)


@pytest.mark.timeout(600)
def test_a_training_goes_on_from_its_checkpoint_and_ships_a_lora(tmp_path: Path) -> None:
    from lab.assistant.train import CHECKPOINT, Recipe, train

    recipe = Recipe(minutes=0.02, batch_tokens=256, max_tokens=2000, chats=2, chat_tokens=4, pool=8, threads=1)
    quiet = Console(file=StringIO())
    first = train(BUNDLED, tmp_path, recipe, quiet)
    assert first["steps"] >= 1
    whole = train(BUNDLED, tmp_path, recipe, quiet)
    assert whole["steps"] == first["steps"], "its time was spent"
    longer = Recipe(**{**vars(recipe), "minutes": 0.02 + first["seconds"] / 60 + 0.02})
    second = train(BUNDLED, tmp_path, longer, quiet)
    assert second["steps"] > first["steps"]
    assert second["read"] > first["read"]
    assert (tmp_path / CHECKPOINT).exists()
    adapter = tmp_path / "adapter"
    manifest = json.loads((adapter / "manifest.json").read_text())
    assert all(sha256(adapter / name) == told for name, told in manifest["files"].items())
    weights = load_file(adapter / WEIGHTS)
    assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.bfloat16"}
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_only_a_lora_that_was_measured_to_be_better_makes_a_default() -> None:
    if not TRAINED.is_dir():
        assert DEFAULT is None
        return
    assert DEFAULT is not None
    manifest = json.loads((TRAINED / "manifest.json").read_text())
    report = json.loads((TRAINED.parent / "report.json").read_text())
    assert all(sha256(TRAINED / name) == told for name, told in manifest["files"].items())
    assert report["adapter_sha256"] == manifest["files"][WEIGHTS]
    assert (TRAINED / WEIGHTS).stat().st_size <= 16 << 20
    taught, base = (report[name]["obeyed"] for name in ("taught", "base"))
    assert all(taught[part] > base[part] for part in ("alone_seen", "alone_held_out", "three_held_out"))
    assert report["taught"]["general"]["lost"] <= 0.1
