"""Real, small implementations of the learner's ports: a perfect writer of the lab's world, and a word embedder."""

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from lab.examples import sorted_style
from lab.render import detect, render
from lab.style import DEFAULT, MEANING, PHRASINGS, canonical_phrase
from lab.world import Request
from preference.inference import parse_preferences
from preference.ports import Generation, Vectors
from preference.prompt import Message
from preference.text import canonical

_MEANING = {canonical(phrase): meaning for phrase, meaning in MEANING.items()}


class OracleGenerator:
    """Answers learner and writing prompts about known requests without a mistake, but for what ``said`` overrides.

    ``said`` maps a skill (``infer``, ``write``) to an answer given instead, ``first`` is given once.
    """

    def __init__(self, *requests: Request) -> None:
        self._requests = requests
        self.said: dict[str, str] = {}
        self.first = ""
        self.asked: list[str] = []
        self.before_answer: Callable[[], object] | None = None

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        prompt = messages[-1]["content"]
        skill = "infer" if prompt.startswith("<draft>") else "write"
        self.asked.append(skill)
        if (act := self.before_answer) is not None:
            self.before_answer = None
            act()
        first, self.first = (self.first, "") if skill == "infer" else ("", self.first)
        answer = first or self.said.get(skill) or getattr(self, f"_{skill}")(prompt)
        return Generation(answer, len(prompt.split()), len(answer.split()))

    def _infer(self, prompt: str) -> str:
        found = re.search(r"<draft>\n(.*)\n</draft>\n\n<edited>\n(.*)\n</edited>", prompt, re.DOTALL)
        assert found is not None
        draft, edited = found.groups()
        facts = next(r.facts for r in self._requests if r.facts.topic in edited)
        before, after = detect(draft, facts), detect(edited, facts)
        changed = {a: v for a, v in after.items() if v not in (DEFAULT, before[a])}
        return "\n".join(f"- {canonical_phrase(a, v)}" for a, v in sorted_style(facts.task, changed)) or "none"

    def _write(self, prompt: str) -> str:
        request = next(r for r in self._requests if prompt.startswith(r.text))
        asked = [
            _MEANING[canonical(p)] for p in parse_preferences(prompt[len(request.text) :]) if canonical(p) in _MEANING
        ]
        return render(request.facts, {a: v for a, v in reversed(asked) if a in PHRASINGS})


class WordEmbedder:
    """Unit vectors of word counts, hashed: texts are alike when they share words."""

    name = "words"
    dimension = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = 1e-3
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
