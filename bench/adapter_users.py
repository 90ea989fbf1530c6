"""Users with adapters of random weights, made from seeds, and what the engine says with each of them alone."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import torch
from safetensors.torch import save_file
from sqlalchemy import Connection

from adapters.artifacts.directories import Directories
from adapters.artifacts.manifest import Manifest
from adapters.artifacts.names import engine_name
from adapters.artifacts.validation import CONFIG, WEIGHTS, base_sha256, lora_shapes, validate
from adapters.lifecycle import versions
from adapters.recipe import Recipe
from bench.arms import texts, user_says
from bench.client import Answer
from bench.servers import BUNDLED, MODEL, Server, call
from lab.child import ServerFailed
from store import jobs, users
from store.database import Database
from store.owner import Owner

TENANT = "bench"
PROMPTS = tuple(user_says(text) for text in texts()[:2])
"""What every user asks, in turn."""
_STRENGTH = 0.3  # of the weights' change: answers differ from user to user, and do not end at once
_LEAST_TOKENS = 16
_LEAST_MARGIN = 0.005
"""Between the two likeliest tokens of every step, in nats: what the rounding of other batches cannot turn over."""


@dataclass(frozen=True)
class AdapterUser:
    """One user. ``said`` has the answers to ``PROMPTS``, alone in the engine, by version; 0 is the base."""

    number: int
    opaque_id: str
    said: dict[int, tuple[str, ...]]

    @property
    def name(self) -> str:
        """What an app calls them."""
        return f"user-{self.number}"

    def adapter(self, version: int) -> str:
        """What the engine calls a version of theirs."""
        return engine_name(self.opaque_id, version)


@dataclass
class Tally:
    """Answers by version, and those that are not what their version says alone, with the first of them."""

    answers: Counter[int] = field(default_factory=Counter)
    leaks: int = 0
    first: str = ""

    def add(self, user: AdapterUser, prompt: int, answer: Answer, version: int | None = None) -> None:
        """Compare an answer with what its version, or ``version`` if it does not tell, said alone.

        Raises ``Broken`` unless the answer is whole.
        """
        text, told = answer.said()
        served = version if told is None else told
        if served is None:
            raise ValueError("the answer does not tell its version")
        expected = user.said[served][prompt]
        self.answers[served] += 1
        if text != expected:
            self.leaks += 1
            whose = [f"user {user.number} v{v}" for v, said in user.said.items() if text in said]
            self.first = self.first or f"user {user.number} v{served}, prompt {prompt}: {text[:200]!r} {whose}"


@dataclass
class Publisher:
    """Publishes adapters to a database and a folder with a store, and hears each alone in an engine."""

    engine: Server
    database: Database
    directories: Directories
    tokens: int
    recipe: Recipe = field(default_factory=Recipe)
    _seeds: int = 0
    _heard: set[tuple[int, str]] = field(default_factory=set)

    async def publish(self, counts: Sequence[int], told: Callable[[], None]) -> list[AdapterUser]:
        """A user for each of ``counts``, with so many versions, the first active. Raises ``ServerFailed``."""
        async with self.engine.session() as session:
            base = tuple(text for text, _, _ in await self._hear(session, MODEL))
            self._heard = set(enumerate(base))
            published = []
            for number, count in enumerate(counts):
                opaque_id = await self.database.write(_add, Owner(TENANT, f"user-{number}"), count)
                said = {0: base}
                for version in range(1, count + 1):
                    said[version] = await self._version(session, opaque_id, version)
                    told()
                published.append(AdapterUser(number, opaque_id, said))
            return published

    async def _version(self, session: aiohttp.ClientSession, opaque_id: str, version: int) -> tuple[str, ...]:
        """Publish an adapter that says something of its own; what it says."""
        for _ in range(50):
            self._seeds += 1
            adapter = self.directories.stage(opaque_id, version) / "adapter"
            await asyncio.to_thread(write, adapter, self._seeds, self.recipe)
            alone = f"alone-{self._seeds}"
            await call(session, "POST", "/v1/load_lora_adapter", {"lora_name": alone, "lora_path": str(adapter)})
            heard = await self._hear(session, alone)
            await call(session, "POST", "/v1/unload_lora_adapter", {"lora_name": alone})
            said = [(prompt, text) for prompt, (text, _, _) in enumerate(heard)]
            if self._heard.isdisjoint(said) and all(n >= _LEAST_TOKENS and m >= _LEAST_MARGIN for _, n, m in heard):
                self._heard.update(said)
                made = Manifest(version, [], base_sha256(BUNDLED), {"seed": self._seeds}, {}, {}, 1.0)
                await asyncio.to_thread(self.directories.publish, adapter, opaque_id, made)
                return tuple(text for text, _, _ in heard)
        raise ServerFailed("No random adapter says something of its own.")

    async def _hear(self, session: aiohttp.ClientSession, model: str) -> list[tuple[str, int, float]]:
        """The text, its tokens and the least margin between two tokens, for each prompt."""
        heard = []
        for messages in PROMPTS:
            body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": self.tokens}
            answer = await call(session, "POST", "/v1/chat/completions", {**body, "logprobs": True, "top_logprobs": 2})
            choice = answer["choices"][0]
            tops = [[top["logprob"] for top in step["top_logprobs"]] for step in choice["logprobs"]["content"]]
            margin = min((max(top) - min(top) for top in tops), default=0.0)
            heard.append((str(choice["message"]["content"]), len(tops), margin))
        return heard


def write(directory: Path, seed: int, recipe: Recipe) -> None:
    """An adapter of random weights for the bundled model, valid as one that was trained."""
    directory.mkdir(parents=True)
    random = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(shape, generator=random) * (1 / math.sqrt(shape[1]) if ".lora_A." in name else _STRENGTH)
        for name, shape in sorted(lora_shapes(BUNDLED, recipe).items())
    }
    save_file(weights, directory / WEIGHTS)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": recipe.rank, "lora_alpha": recipe.alpha, "bias": "none",
        "init_lora_weights": True, "target_modules": sorted(recipe.target_modules),
        "base_model_name_or_path": str(BUNDLED),
    }  # fmt: skip
    (directory / CONFIG).write_text(json.dumps(config))
    validate(directory, BUNDLED, recipe)


def _add(c: Connection, owner: Owner, count: int) -> str:
    """The user's rows; the opaque id."""
    user = users.ensure(c, owner)
    for number in range(1, count + 1):
        versions.queue(c, owner)
        jobs.cancel(c, owner, "train", str(number))  # nobody shall train it
        versions.set_state(c, owner, number, "ready", mode="adapter", learned_through=1.0)
    users.set_active_adapter(c, owner, 1)
    return user.opaque_id
