"""How likely texts are to an engine, token by token, by vLLM's ``prompt_logprobs``."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from preference.ports import TokenScores
from server.engine.refusals import AdapterGone
from store.errors import EngineRejected, ScoringUnavailable
from store.message import Message

SCORED_AT_ONCE = 8


class Completer(Protocol):
    """The engine that is asked. ``base_model`` is the served name, empty until it is known."""

    base_model: str

    async def complete(self, path: str, payload: dict[str, Any]) -> bytes:
        """The answer of the engine's route ``path``. Raises ``EngineUnavailable`` or ``EngineRejected``."""
        ...


class EngineScorer:
    """Scores texts on one engine. ``fields`` are added to each request that generates."""

    def __init__(self, engine: Completer, fields: Mapping[str, Any]) -> None:
        self._engine = engine
        self._fields = fields
        self._scoring = asyncio.Lock()
        self._ends: list[int] | None = None

    async def score(self, pairs: Sequence[tuple[Sequence[Message], str]], name: str) -> list[TokenScores]:
        """How likely each answer is to its messages by the model of that ``name``.

        The engine tokenizes the prompt by its chat template and the answer as it is: templates trim texts, so the two
        are joined as tokens. At most ``SCORED_AT_ONCE`` texts are sent at a time, and one such request is in flight:
        vLLM does not account for the memory that ``prompt_logprobs`` take (vllm#5907). Raises ``ScoringUnavailable``.
        """
        ends = await self._end_of_turn(name)
        prompts = {}
        for messages, _ in pairs:
            key = json.dumps(messages, sort_keys=True)
            if key not in prompts:
                prompts[key] = await self._tokens({"model": name, "messages": list(messages)})
        texts = {answer: await self._tokens({"model": name, "prompt": answer, "add_special_tokens": False})
                 for answer in dict.fromkeys(answer for _, answer in pairs)}  # fmt: skip
        asked = [(prompts[json.dumps(messages, sort_keys=True)], [*texts[answer], *ends]) for messages, answer in pairs]
        found: list[TokenScores] = []
        for start in range(0, len(asked), SCORED_AT_ONCE):
            found += await self._scored(name, asked[start : start + SCORED_AT_ONCE])
        return found

    async def _scored(self, name: str, asked: Sequence[tuple[list[int], list[int]]]) -> list[TokenScores]:
        payload = {
            "model": name, "prompt": [prompt + text for prompt, text in asked],
            "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0, **self._fields,
        }  # fmt: skip
        async with self._scoring:
            try:
                choices = json.loads(await self._engine.complete("/v1/completions", payload))["choices"]
            except EngineRejected as error:
                self._raise_if_gone(error, name)
                raise ScoringUnavailable(f"The engine does not score texts: {error.message}") from error
        found = []
        for (_, text), choice in zip(asked, sorted(choices, key=lambda choice: choice["index"]), strict=True):
            told = choice.get("prompt_logprobs")
            if not told:
                raise ScoringUnavailable("The engine gives no prompt_logprobs.")
            at = told[len(told) - len(text) :]
            logprobs = tuple(float(of[str(id)]["logprob"]) for id, of in zip(text, at, strict=True))
            found.append(TokenScores(tuple(text), logprobs))
        return found

    async def _tokens(self, asked: dict[str, Any]) -> list[int]:
        try:
            tokens: list[int] = json.loads(await self._engine.complete("/tokenize", asked))["tokens"]
        except EngineRejected as error:
            self._raise_if_gone(error, asked["model"])
            raise ScoringUnavailable(f"The engine does not tokenize: {error.message}") from error
        return tokens

    def _raise_if_gone(self, error: EngineRejected, name: str) -> None:
        """Of the base model, which goes nowhere, "not found" means the route."""
        if isinstance(error, AdapterGone) and name != self._engine.base_model:
            raise error

    async def _end_of_turn(self, name: str) -> list[int]:
        """The token by which the chat template ends an answer; none where the template shows none."""
        if self._ends is None:
            asked: list[Message] = [{"role": "user", "content": "a"}]
            before = await self._tokens({"model": name, "messages": asked})
            said: list[Message] = [*asked, {"role": "assistant", "content": "a"}]
            whole = await self._tokens({"model": name, "messages": said, "add_generation_prompt": False})
            text = await self._tokens({"model": name, "prompt": "a", "add_special_tokens": False})
            at = len(before) + len(text)
            self._ends = whole[at : at + 1] if whole[:at] == [*before, *text] else []
        return self._ends
