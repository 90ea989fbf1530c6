"""A user's edits as rows, and a judge of what adapters make likelier, on the bundled model."""

import random
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
from adapters.recipe import Recipe
from adapters.training.recipes import sampling
from adapters.training.recipes.setup import Row
from lab.lexicon import KINDS
from lab.render import render
from lab.simulated_user import SimulatedUser
from store.values import Value
from tests.adapters.fakes import make_edit

pytestmark = pytest.mark.timeout(900)
BASE = Path(__file__).resolve().parents[4] / "lab" / "model"
RECIPE = Recipe(batch_size=4, min_steps=4, max_steps=4, threads=1, niceness=0)
LONGER = replace(RECIPE, min_steps=12, max_steps=12, learning_rate=6e-3)
DPO, KTO = Objective("dpo"), Objective("kto")


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


class Judge:
    """Log-probabilities under the base and under an adapter, by plain peft and a plain forward pass."""

    def __init__(self, rows: Sequence[Row]) -> None:
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
