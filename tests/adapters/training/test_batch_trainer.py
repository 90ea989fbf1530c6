"""Many at once against one by one: the real trainer and the batched one on the same users of the lab's world."""

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from adapters.artifacts.validation import validate
from adapters.objective import Objective
from adapters.recipe import Recipe
from adapters.training import progress
from adapters.training.batch.adamw import StackedAdamW
from adapters.training.batch.packing import Row, Segments, UserRow, attend_padded, attend_split, passes
from adapters.training.trainer import PARENT, TrainingJob
from bench.training_users import TrainingUser

pytestmark = pytest.mark.timeout(900)

ONE_BY_ONE = """
import sys
from pathlib import Path
from adapters.training import progress
from adapters.training.trainer import TrainingJob
from adapters.training.trainer import train
for directory in map(Path, sys.argv[1:]):
    with (directory / progress.FILE).open("w") as sys.stdout:
        train(directory, TrainingJob.read(directory))
"""
AT_ONCE = """
import sys
from pathlib import Path
from adapters.training.batch.trainer import train_many
train_many([Path(name) for name in sys.argv[1:]], tokens_at_once=700)
"""
RECIPE = Recipe(rank=4, learning_rate=1e-2, min_steps=6, epochs=3, batch_size=4, threads=1, niceness=0)
RECIPES = {
    "ana": RECIPE,
    "ben": replace(RECIPE, batch_size=3, epochs=2, learning_rate=4e-3),
    "eva": replace(RECIPE, seed=7, max_tokens=420),
    "kim": replace(RECIPE, objective=Objective(continued=True), max_steps=9),
    "leo": replace(RECIPE, max_tokens=5),
    "sue": RECIPE,
}
LEARNING = [name for name in RECIPES if name not in ("leo", "sue")]
"""Leo's rows are too long, Sue's cannot be read."""


@dataclass(frozen=True)
class Both:
    base: Path
    alone: dict[str, Path]
    together: dict[str, Path]


def run(code: str, directories: list[Path]) -> None:
    command = [sys.executable, "-c", code, *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def both(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Users of different edits and schedules, one of whom goes on from an adapter, trained both ways."""
    root = tmp_path_factory.mktemp("both")
    ways: dict[str, dict[str, Path]] = {}
    for way in ("alone", "together"):
        ways[way] = {name: root / way / name for name in RECIPES}
        for seed, (name, recipe) in enumerate(RECIPES.items()):
            TrainingUser(seed, edits=9 + 2 * seed).write(ways[way][name], TrainingJob(str(tiny_base), recipe))
    with (ways["together"]["sue"] / "train.jsonl").open("a") as file:
        file.write('{"prompt": []}\n')
    run(ONE_BY_ONE, [ways["alone"]["ana"]])
    for directories in ways.values():
        (directories["kim"] / PARENT).symlink_to(ways["alone"]["ana"] / "adapter")
    run(ONE_BY_ONE, [ways["alone"][name] for name in LEARNING if name != "ana"])
    run(AT_ONCE, [*ways["together"].values(), root / "gone"])
    return Both(tiny_base, ways["alone"], ways["together"])


def losses(directory: Path) -> list[tuple[int, float]]:
    said = [json.loads(line) for line in (directory / progress.FILE).read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in said if line["event"] == "step"]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("name", LEARNING)
def test_losses_are_those_of_one_by_one_training(both: Both, name: str) -> None:
    alone, together = losses(both.alone[name]), losses(both.together[name])
    assert [step for step, _ in together] == [step for step, _ in alone]
    assert max(abs(a - b) for (_, a), (_, b) in zip(alone, together, strict=True)) < 1e-3
    assert alone[-1][1] < alone[0][1]


def test_users_differ_in_steps_and_losses(both: Both) -> None:
    seen = [losses(both.together[name]) for name in LEARNING]
    assert len({len(each) for each in seen}) == 4
    assert len({each[2] for each in seen}) == len(LEARNING)


@pytest.mark.parametrize("name", LEARNING)
def test_adapters_are_valid_and_hold_the_same_weights_and_configuration(both: Both, name: str) -> None:
    validate(both.together[name] / "adapter", both.base, RECIPES[name])
    alone, together = weights(both.alone[name]), weights(both.together[name])
    assert alone.keys() == together.keys()
    assert max(float((alone[key] - together[key]).abs().max()) for key in alone) < 1e-3
    configurations = [
        json.loads((way[name] / "adapter" / "adapter_config.json").read_text()) for way in (both.alone, both.together)
    ]
    first, second = ({**c, "target_modules": sorted(c["target_modules"])} for c in configurations)
    assert first == second


@pytest.mark.parametrize("name", LEARNING)
def test_plain_peft_loads_them_and_they_answer_alike(both: Both, name: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(3, 60)[None]

    def logits(adapter: Path | None) -> torch.Tensor:
        model: Any = AutoModelForCausalLM.from_pretrained(both.base)
        model = model if adapter is None else PeftModel.from_pretrained(model, str(adapter))
        with torch.no_grad():
            found: torch.Tensor = model(ids).logits
        return found

    base, alone, together = map(logits, (None, both.alone[name] / "adapter", both.together[name] / "adapter"))
    assert float((alone - together).abs().max()) < 1e-2 * float((alone - base).abs().max())


def test_figures_say_what_one_by_one_figures_say(both: Both) -> None:
    for name in LEARNING:
        alone, together = (json.loads((way[name] / "figures.json").read_text()) for way in (both.alone, both.together))
        differ = {"users", "seconds", "peak_gib", "loss_first", "loss_last"}
        assert {key: together[key] for key in together.keys() - differ} == {
            key: alone[key] for key in alone.keys() - differ
        }
        assert together["users"] == len(LEARNING)
        assert together["loss_last"] == losses(both.together[name])[-1][1]
    assert json.loads((both.together["kim"] / "figures.json").read_text())["continued"]
    assert json.loads((both.together["eva"] / "figures.json").read_text())["rows_too_long"]


def test_whose_rows_do_not_fit_or_cannot_be_read_is_left_out(both: Both) -> None:
    for name in RECIPES.keys() - LEARNING:
        assert not (both.together[name] / "adapter").exists()
        assert not (both.together[name] / "figures.json").exists()


def test_who_is_erased_meanwhile_stops_nobody_and_gets_nothing(tiny_base: Path, tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("ann", "bob")]
    for seed, directory in enumerate(directories):
        TrainingUser(seed, edits=12).write(directory, TrainingJob(str(tiny_base), replace(RECIPE, min_steps=40)))
    process = subprocess.Popen([sys.executable, "-c", AT_ONCE, *map(str, directories)])
    ann, bob = directories
    while not (ann / progress.FILE).exists() or len(losses(ann)) < 2:
        assert process.poll() is None
        time.sleep(0.005)
    shutil.rmtree(ann)
    assert process.wait(timeout=800) == 0
    assert not ann.exists()
    assert len(losses(bob)) == 40
    validate(bob / "adapter", tiny_base, RECIPE)


@pytest.mark.parametrize(
    "other",
    [
        TrainingJob("another", RECIPE),
        TrainingJob("base", replace(RECIPE, rank=8)),
        TrainingJob("base", replace(RECIPE, objective=Objective(name="dpo"))),
    ],
)
def test_jobs_that_cannot_share_a_pass_are_refused(tmp_path: Path, other: TrainingJob) -> None:
    from adapters.training.batch.trainer import train_many

    directories = [tmp_path / "one", tmp_path / "two"]
    for directory, job in zip(directories, (TrainingJob("base", RECIPE), other), strict=True):
        directory.mkdir()
        job.write(directory)
    with pytest.raises(ValueError, match="are SFT, and differ in nothing but"):
        train_many(directories)


def test_passes_keep_order_rows_and_bound() -> None:
    lengths = [5, 9, 1, 30, 2, 2, 2, 7]
    rows = [UserRow(Row([0] * length, 1), user, 1.0) for user, length in enumerate(lengths)]
    made = list(passes(rows, 12))
    assert [one for some in made for one in some] == rows
    sizes = [sum(len(one.row.ids) for one in some) for some in made]
    assert [size for size in sizes if size > 12] == [30]
    assert Counter(map(len, made)) == {1: 3, 2: 1, 3: 1}
    assert list(passes([], 12)) == []


def test_each_user_is_stepped_as_torch_does_alone() -> None:
    torch.manual_seed(0)
    start, rates = torch.randn(3, 50), [1e-2, 1e-3, 3e-2]
    stacked, gradients = start.clone(), torch.zeros(3, 50)
    together = StackedAdamW(stacked, gradients)
    alone = [torch.nn.Parameter(row.clone()) for row in start]
    optimizers = [torch.optim.AdamW([p], lr=rate, weight_decay=0.0) for p, rate in zip(alone, rates, strict=True)]
    for learning in (3, 3, 2, 1):  # users end one after the other, the last first
        found = torch.randn(learning, 50) * torch.tensor([0.01, 1.0, 100.0])[:learning, None]
        gradients[:learning] += found
        together.step(rates[:learning])
        for p, gradient, optimizer in zip(alone, found, optimizers, strict=False):
            p.grad = gradient.clone()
            torch.nn.utils.clip_grad_norm_([p], 1.0)
            optimizer.step()
    assert torch.allclose(stacked, torch.stack([p.detach() for p in alone]), atol=1e-6)
    assert not gradients.any()
    assert float((stacked[1] - start[1]).abs().max()) > 1e-3


class Attention(torch.nn.Module):
    """What transformers asks of a layer that attends: here with two heads for each of keys and values."""

    num_key_value_groups = 2
    is_causal = True


def test_padded_and_split_attention_and_their_gradients_are_the_same() -> None:
    segments, generator = Segments.of([3, 1, 7, 4]), torch.Generator().manual_seed(0)
    given = [torch.randn(1, heads, 15, 8, generator=generator, requires_grad=True) for heads in (4, 2, 2)]
    weights = torch.randn(1, 15, 4, 8, generator=generator)
    found = []
    for attend in (attend_padded, attend_split):
        query, key, value = given
        attended = attend(Attention(), query, key, value, segments, {})
        found.append((attended, *torch.autograd.grad((attended * weights).sum(), given)))
    for padded, split in zip(*found, strict=True):
        torch.testing.assert_close(padded, split)
