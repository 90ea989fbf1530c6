"""The whole job with the real trainer and real generation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from adapters.artifacts.directories import Directories
from adapters.training.job import Training
from preference.ports import Generation
from store.message import Message
from tests.adapters.fakes import ANSWER, TINY_RECIPE
from tests.adapters.training.conftest import World


class TransformersHost:
    """The adapter port over transformers and peft, in this process: what an engine would answer, without one."""

    tokenizer: Any

    def __init__(self, base: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)  # the other cores have tests of their own
        self.base = base
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self.models: dict[str | None, Any] = {None: AutoModelForCausalLM.from_pretrained(base)}

    async def load(self, name: str, path: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        self.models[name] = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(self.base), str(path))

    async def unload(self, name: str) -> None:
        self.models.pop(name, None)

    async def loaded(self) -> set[str]:
        return {name for name in self.models if name}

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        for name in filter(chosen, await self.loaded()):
            await self.unload(name)

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        mask = ids.new_ones(ids.shape)
        out = self.models[model].generate(ids, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False)
        answer = out[0, ids.shape[1] :]
        return Generation(self.tokenizer.decode(answer, skip_special_tokens=True), ids.shape[1], len(answer))

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        import torch

        prompt = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        begin = len(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        text = prompt + answer + self.tokenizer.eos_token
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = self.models[model](ids).logits[0, begin - 1 : -1].log_softmax(-1)
        return -float(logprobs.gather(1, ids[0, begin:, None]).mean())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_whole_job_with_the_real_trainer_and_real_generation(world: World) -> None:
    await world.add_edits()
    host = TransformersHost(world.trained.base)
    made = Training(
        world.database, host, Directories(world.root), base_model=str(world.trained.base), recipe=TINY_RECIPE
    )
    await made(await world.job())
    version, user = await world.version(), await world.user()
    assert version.state == "ready", version.report
    assert version.report["arms"]["adapter"]["cost"] == 0.0
    assert version.report["arms"]["serving"]["cost"] > 0.5
    assert await host.loaded() == set()
    await host.load("published", Directories(world.root).path(user.opaque_id, 1))
    asked = [{"role": "user", "content": "request 500"}]
    assert (await host.generate(asked, max_tokens=30, model="published")).text == ANSWER
