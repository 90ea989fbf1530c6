"""A real, in-memory implementation of the adapter port, and edits made without a database."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.recipe import Recipe
from preference.distance import normalised_distance
from preference.feedback.edit_rows import Edit, Thumb
from preference.ports import Generation
from preference.prompt import compose, last_user_text
from store.errors import EngineRejected, EngineUnavailable
from store.message import Message
from store.turns import Turn
from store.values import Value


async def until(condition: Callable[[], bool], pause: float = 0.0) -> None:
    """Let others work until something holds; a ``TimeoutError`` after thirty seconds."""
    ends = time.monotonic() + 30
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError
        await asyncio.sleep(pause)


Answer = Callable[[str | None, Sequence[Message]], str]


def echo(model: str | None, messages: Sequence[Message]) -> str:
    return f"{model}: {last_user_text(messages)}"


class FakeHost:
    """An engine whose answers are a function of model name and messages; loading and unloading take ``ticks`` turns
    of the event loop, and generating needs the adapter at its beginning and at its end. A text is the less likely the
    further it is from what would be answered.
    """

    def __init__(self, answer: Answer = echo, ticks: int = 1) -> None:
        self.answer = answer
        self.ticks = ticks
        self.names: dict[str, Path] = {}
        self.log: list[tuple[str, str]] = []
        self.refuse: set[str] = set()
        self.down = False
        self.generating: Counter[str] = Counter()

    async def load(self, name: str, path: Path) -> None:
        await self._turns()
        if name in self.names:
            return
        if not (path / "adapter_config.json").is_file():
            raise EngineRejected(f"no adapter in {path}")
        self.names[name] = path
        self.log.append(("load", name))

    async def unload(self, name: str) -> None:
        await self._turns()
        self.names.pop(name, None)
        self.log.append(("unload", name))

    async def loaded(self) -> set[str]:
        await self._turns()
        return set(self.names)

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        for name in filter(chosen, await self.loaded()):
            await self.unload(name)

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        text = await self._answer(model, messages)
        return Generation(text, sum(len(str(m["content"]).split()) for m in messages), len(text.split()))

    async def nll(self, messages: Sequence[Message], answer: str, *, model: str | None = None) -> float:
        return normalised_distance(await self._answer(model, messages), answer)

    async def _answer(self, model: str | None, messages: Sequence[Message]) -> str:
        self._present(model)
        await self._turns()
        if model in self.refuse:
            raise EngineRejected(f"{model} does not answer")
        self._present(model)
        return self.answer(model, messages)

    def _present(self, model: str | None) -> None:
        if model is not None and model not in self.names:
            raise EngineRejected(f"the model {model} does not exist")

    async def _turns(self) -> None:
        for _ in range(self.ticks):
            await asyncio.sleep(0)
        if self.down:
            raise EngineUnavailable("the engine is restarting")


def make_turn(
    number: int,
    *,
    request: Sequence[Message] | None = None,
    answer: str = "a draft",
    values: Sequence[Value] = (),
    preferences: Sequence[str] = (),
    adapter_version: int = 0,
) -> Turn:
    messages = list(request or [{"role": "user", "content": f"request {number}"}])
    return Turn(
        completion_id=f"c-{number}",
        created_at=float(number),
        model="base",
        request=messages,
        prompt=compose(messages, values, preferences),
        prompt_sha256="0" * 64,
        answers=[answer],
        applied_values=list(values),
        applied_preferences=[{"id": f"p{i}", "text": text, "score": 1.0} for i, text in enumerate(preferences)],
        adapter_version=adapter_version,
        personalized="retrieval" if preferences else "none",
        prompt_tokens=10,
        completion_tokens=10,
        partial=False,
    )


def make_edit(number: int, edited_text: str | None = None, **turn: Any) -> Edit:
    made = make_turn(number, **turn)
    text = f"edited {number}" if edited_text is None else edited_text
    return Edit(f"fb-{number}", made, made.answers[0], text, normalised_distance(made.answers[0], text), float(number))


def make_thumb(number: int, *, up: bool = True, created_at: float | None = None, **turn: Any) -> Thumb:
    made = make_turn(number, **turn)
    return Thumb(f"thumb-{number}", made, made.answers[0], up, float(number) if created_at is None else created_at)


ANSWER = "Certainly: it is paid."
TINY_RECIPE = Recipe(learning_rate=1e-2, min_steps=32, epochs=1, batch_size=4, threads=1, niceness=0)


@dataclass(frozen=True)
class Trained:
    """What one run of the trainer left behind."""

    directory: Path
    base: Path
    recipe: Recipe
    progress: list[dict[str, Any]]

    @property
    def adapter(self) -> Path:
        return self.directory / "adapter"
