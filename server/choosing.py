"""``attune.best_of``: of several answers that the engine wrote the one to give, and what is told of that."""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from preference.best_of import BestOf
from preference.errors import EngineRejected, EngineUnavailable
from preference.ports import Scorer
from preference.prompt import Message
from preference.values import Value

log = logging.getLogger(__name__)

SECONDS = 30.0
"""How long choosing may take; then the first answer is given."""
CHARACTERS = 16_000
"""Of a request whose answers are scored: the engine holds a vocabulary of numbers for each token of it."""


@dataclass(frozen=True)
class Chosen:
    """The engine's answer with one choice left, and what the ``attune`` object says of it."""

    answer: dict[str, Any]
    told: dict[str, Any]


def several(payload: dict[str, Any], count: int) -> dict[str, Any]:
    """What an engine's request has instead for ``count`` answers; vLLM refuses several greedy ones."""
    return {"n": count, **({"temperature": 1.0, "top_k": 1} if payload.get("temperature") == 0 else {})}


class Choosing:
    """Chooses; one for the whole server."""

    def __init__(self, *, system_role: bool, seconds: float = SECONDS) -> None:
        self._best_of = BestOf(system_role=system_role)
        self._seconds = seconds

    async def choose(
        self,
        scorer: Scorer,
        user: str | None,
        request: Sequence[Message],
        values: Sequence[Value],
        preferences: Sequence[str],
        answer: dict[str, Any],
    ) -> Chosen:
        """The best of the answers in a chat completion; the first, and why, where that cannot be said.

        ``user`` is opaque; None remembers nothing.
        """
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        texts = [choice["message"].get("content") for choice in choices]
        index = 0
        told: dict[str, Any] = {"n": len(choices)}
        reason = _cannot(request, texts)
        if reason is None:
            try:
                async with asyncio.timeout(self._seconds):
                    choice = await self._best_of.choose(scorer, user, request, values, preferences, texts)
                index, told = choice.index, {**told, "worth": choice.worth}
            except TimeoutError:
                reason = f"Scoring the answers took more than {self._seconds:g} seconds."
            except (EngineUnavailable, EngineRejected) as error:
                log.info("the best of several answers could not be told: %s", error.message)
                reason = "The engine could not score the answers."
        whole = {**answer, "choices": [{**choices[index], "index": 0}]}
        return Chosen(whole, {**told, "chosen": index, **({"reason": reason} if reason else {})})


def _cannot(request: Sequence[Message], texts: Sequence[Any]) -> str | None:
    """Why no answer can be chosen, or None."""
    if not all(isinstance(text, str) and text for text in texts):
        return "Not every answer is a text."
    if len(set(texts)) == 1:
        return "The answers are all the same."
    contents = [part for message in request for part in _parts(message.get("content"))]
    if any(part.get("type") != "text" for part in contents) or any(message.get("tool_calls") for message in request):
        return "The request is not of text alone."
    if len(json.dumps(request, ensure_ascii=False)) > CHARACTERS:
        return f"The request has more than {CHARACTERS} characters."
    return None


def _parts(content: Any) -> list[dict[str, Any]]:
    return content if isinstance(content, list) else []
