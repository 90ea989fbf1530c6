"""Whether a prompt leaves an engine room to answer: preferences give way before a request is refused for its length."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from preference.recall.index import Recalled
from server.engine.pool import Replica
from store.errors import EngineRejected, EngineUnavailable
from store.message import Message

SHORT = 1000
"""Tokens: a prompt and an answer that take no more, by estimate, fit any model."""
ANSWER = 256
"""Tokens that are kept free for an answer of which the caller did not say how long it may be."""
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_PROMPT = ("messages", "prompt", "input", "instructions", "system", "tools", "suffix", "response_format")
TEMPLATE = 512
"""Tokens of a chat template's own, tools' instructions among them."""
_TOO_LONG = re.compile(r"context[ _]?(length|window)", re.IGNORECASE)


class Room:
    """Knows the context length of each engine, once a long prompt has made it ask."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}

    async def fitting(
        self, replica: Replica, prompt: Sequence[Message], payload: Mapping[str, Any], recalled: Sequence[Recalled]
    ) -> int:
        """How many of ``recalled`` may stay in ``prompt``, the first ones, so that the rest is enough for the answer.

        Tokens are counted by the engine where an estimate (one for three bytes, too many for most text) says that there
        may be too few, which takes no model. All of them where the engine does not count.
        """
        wanted = next((payload[name] for name in _LIMITS if payload.get(name)), ANSWER)
        tools = payload.get("tools") or ()
        if (_bytes(prompt) + _bytes(tools)) // 3 + wanted <= self._tokens.get(replica.name, SHORT):
            return len(recalled)
        asked = {"model": payload["model"], "messages": list(prompt)}
        # A chat's tools are counted as its template writes them, if it does; those of other routes are estimated.
        counted = all("function" in tool for tool in tools)
        asked |= {"tools": list(tools)} if tools and counted else {}
        beside = wanted if counted else _bytes(tools) // 3 + wanted
        try:
            told = json.loads(await replica.engine.complete("/tokenize", asked))
            used, self._tokens[replica.name] = int(told["count"]) + beside, int(told["max_model_len"])
        except (EngineRejected, EngineUnavailable, ValueError, KeyError, TypeError):
            return len(recalled)  # the generation will say what is the matter
        kept = len(recalled)
        while kept and used > self._tokens[replica.name]:
            kept -= 1
            used -= max(1, len(recalled[kept].text.encode()) // 6)
        return kept


def bound(path: str, payload: dict[str, Any], answer: int, context: int | None) -> int:
    """Tokens that a request may take at most, prompt and all its answers.

    A request that does not say how long an answer may be is given ``answer``, where that surely fits ``context``.
    A token is a byte of the prompt at least; what the chat template adds is less than JSON does, but for its head.
    """
    prompt, many = prompt_bytes(payload), int(payload.get("n") or 1)
    whole = None if context is None else context * many
    if not any(payload.get(name) for name in _LIMITS):
        if context is not None and prompt + answer > context:
            return context * many
        payload["max_output_tokens" if path == "/v1/responses" else "max_tokens"] = answer
    wanted = prompt + many * max(int(payload.get(name) or 0) for name in _LIMITS)
    return wanted if whole is None else min(wanted, whole)


def prompt_bytes(payload: Mapping[str, Any]) -> int:
    """Tokens that a prompt has at most."""
    return TEMPLATE + sum(_bytes(payload.get(name)) for name in _PROMPT)


def too_long(error: EngineRejected) -> bool:
    """Whether an engine refused a request because prompt and answer exceed what it can read."""
    return _TOO_LONG.search(error.message) is not None


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode()) if value else 0
