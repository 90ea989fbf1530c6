"""Real, small implementations of the learner's ports: a perfect writer of the lab's world, a scorer, an embedder."""

import math
import random
import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz.distance.Indel import opcodes

from lab.examples import sorted_style
from lab.render import detect, render
from lab.style import DEFAULT, MEANING, PHRASINGS, canonical_phrase
from lab.world import Request
from preference.distance import words
from preference.learning.proposer import parse
from preference.ports import Generation, TokenScores, Vectors
from preference.text import canonical
from store.message import Message

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
        answer = first or self.said.get(skill) or getattr(self, skill)(prompt)
        return Generation(answer, len(prompt.split()), len(answer.split()))

    def infer(self, prompt: str) -> str:
        found = re.search(r"<draft>\n(.*)\n</draft>\n\n<edited>\n(.*)\n</edited>", prompt, re.DOTALL)
        assert found is not None
        draft, edited = found.groups()
        facts = next(r.facts for r in self._requests if r.facts.topic in edited)
        before, after = detect(draft, facts), detect(edited, facts)
        changed = {a: v for a, v in after.items() if v not in (DEFAULT, before[a])}
        return "\n".join(f"- {canonical_phrase(a, v)}" for a, v in sorted_style(facts.task, changed)) or "none"

    def write(self, prompt: str, *, later: bool = False) -> str:
        """The answer to a request; of two preferences that exclude each other it follows the first, or the later."""
        request = next(r for r in self._requests if prompt.startswith(r.text))
        asked = [_MEANING[canonical(p)] for p in parse(prompt[len(request.text) :]) if canonical(p) in _MEANING]
        return render(request.facts, {a: v for a, v in (asked if later else reversed(asked)) if a in PHRASINGS})


class OracleScorer:
    """Scores by what the oracle would write: a word it has at the aligned place is likely, any other one is not.

    Where preferences exclude each other it may follow either, as a model may. Tokens are words, and the end of the
    turn. As of a model, the figures are a little off, by the prompt.
    """

    LIKELY, UNLIKELY, NOISE, END = -0.1, -4.0, 0.05, 0

    def __init__(self, generator: OracleGenerator) -> None:
        self._generator = generator
        self.scored = 0

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        self.scored += len(pairs)
        return [self._score(messages[-1]["content"], answer) for messages, answer in pairs]

    def _score(self, prompt: str, answer: str) -> TokenScores:
        said = words(answer)
        ways = [self._likely(self._generator.write(prompt, later=later), said) for later in (False, True)]
        noise = random.Random(zlib.crc32(f"{prompt}\n{answer}".encode()))
        logprobs = []
        for at in range(len(said) + 1):
            chances = [math.exp(self.LIKELY if at in likely else self.UNLIKELY) for likely in ways]
            logprobs.append(math.log(sum(chances) / len(chances)) - noise.uniform(0, self.NOISE))
        return TokenScores((*(zlib.crc32(word.encode()) for word in said), self.END), tuple(logprobs))

    @staticmethod
    def _likely(written: str, said: Sequence[str]) -> set[int]:
        """Where the written text has the words that were said, but for those before which it has others."""
        steps = list(opcodes(words(written), said))
        likely = {at for step in steps if step.tag == "equal" for at in range(step.dest_start, step.dest_end)}
        replaced = {edge for step in steps if step.tag == "insert" for edge in (step.dest_start, step.dest_end)}
        gaps = {step.dest_start for step in steps if step.tag == "delete"} - replaced
        return (likely | {len(said)}) - gaps


class WordEmbedder:
    """Unit vectors of word counts, hashed: texts are alike when they share words."""

    name = "words"
    dimension = 256
    kinds = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[0] = 1e-3
            for word in re.findall(r"\w+", text.lower()):
                row[zlib.crc32(word.encode()) % self.dimension] += 1
        norms: Vectors = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / norms

    def goes_on(self, vector: Vectors) -> bool:
        return False
