"""Ports that do as a test says, in so many words."""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence

from preference.ports import Generation, TokenScores
from store.errors import ScoringUnavailable
from store.message import Message

Gains = Mapping[str, Mapping[str, float]]
"""For a preference in the prompt: by how many nats it makes words likelier."""


class Writer:
    """Answers a question about an edit with ``says``, and any other prompt by ``writes``. Keeps what it was asked."""

    def __init__(self, says: str = "none", writes: Callable[[str], str] = lambda prompt: "") -> None:
        self.says = says
        self.writes = writes
        self.asked: list[str] = []
        self.written: list[str] = []

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        prompt = str(messages[-1]["content"])
        if "\n\nDraft:\n" in prompt:
            self.asked.append(prompt)
            return Generation(self.says, 30, 3)
        self.written.append(prompt)
        return Generation(self.writes(prompt), 20, 2)


class Scales:
    """A scorer of words: each is at -5 nats, and as much more likely as the preferences in the prompt say."""

    def __init__(self, gains: Gains, *, away: bool = False) -> None:
        self.gains = gains
        self.away = away
        self.asked: list[int] = []
        self.prompts: set[str] = set()

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        if self.away:
            raise ScoringUnavailable("The engine gives no prompt_logprobs.")
        self.asked.append(len(pairs))
        return [self._score(str(messages[-1]["content"]), answer) for messages, answer in pairs]

    def _score(self, prompt: str, answer: str) -> TokenScores:
        self.prompts.add(prompt)
        given = re.findall(r"(?m)^- (.*)$", prompt)
        words = [*answer.split(), "<end>"]
        logprobs = (-5.0 + sum(self.gains.get(text, {}).get(word, 0.0) for text in given) for word in words)
        return TokenScores(tuple(zlib.crc32(word.encode()) for word in words), tuple(logprobs))
