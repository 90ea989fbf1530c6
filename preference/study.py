"""What one edit teaches: infer → verify → merge, by generations alone; nothing is stored here.

CIPHER (arXiv 2404.15269) infers from draft and edit; as in PROSE, what was inferred is kept only if generating again
with it comes closer to the user's text.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from preference.distance import word_distance, words
from preference.feedback import Edit
from preference.inference import inference_messages, merge_messages, parse_preferences
from preference.ports import Generation, TextGenerator
from preference.preferences import Preference
from preference.prompt import Message, compose
from preference.text import canonical


@dataclass(frozen=True)
class Lesson:
    """What one edit teaches: texts to add, applied preferences it confirms or contradicts, and why nothing else."""

    new: list[str] = field(default_factory=list)
    confirmed: list[Preference] = field(default_factory=list)
    contradicted: list[Preference] = field(default_factory=list)
    reason: str | None = None


class Study:
    """Studies one ``edit`` of a draft that was made by ``applied``. ``prompt_tokens`` and so on say what it cost."""

    def __init__(self, generator: TextGenerator, edit: Edit, applied: list[Preference], *, system_role: bool) -> None:
        self._generator = generator
        self._edit = edit
        self._applied = applied
        self._system_role = system_role
        self.prompt_tokens = 0
        self.completion_tokens = 0

    async def lesson(self) -> Lesson:
        """The lesson. Raises what the generator raises."""
        edit, applied = self._edit, self._applied
        if word_distance(edit.draft, edit.edited_text) == 0:
            return Lesson(confirmed=applied, reason="the draft was accepted as it was")
        if edit.turn.partial:
            return Lesson(confirmed=applied, reason="the draft was cut short, so the edit says little about it")
        known = {canonical(p.text) for p in applied}
        candidates = [text for text in await self._infer() if canonical(text) not in known]
        if not candidates:
            return Lesson(confirmed=applied, reason="the edit shows no general preference")
        confirmed, contradicted = await self._merge(candidates)
        verified = await self._verify([p.text for p in confirmed], candidates)
        if not verified:
            texts = "; ".join(candidates)
            return Lesson(confirmed=applied, reason=f"generating again with it came no closer to the edit: {texts}")
        missed = await self._missed([*(p.text for p in confirmed), *verified], contradicted)
        return Lesson(
            new=verified,
            confirmed=[*confirmed, *missed],
            contradicted=[p for p in contradicted if p not in missed],
        )

    async def _infer(self) -> list[str]:
        messages = inference_messages(self._edit.draft, self._edit.edited_text)
        return parse_preferences((await self._generate(messages, 400)).text)

    async def _merge(self, candidates: list[str]) -> tuple[list[Preference], list[Preference]]:
        """Which applied preferences still stand beside the new ones. What is locked always stands."""
        applied = self._applied
        if not applied:
            return [], []
        oldest_first = sorted(applied, key=lambda p: p.updated_at)
        answer = await self._generate(merge_messages([*(p.text for p in oldest_first), *candidates]), 600)
        standing = {canonical(text) for text in parse_preferences(answer.text)}
        if not standing & {canonical(text) for text in candidates}:
            return applied, []  # not a merge of what was asked: change nothing that was learned before
        stands = {p.id for p in applied if p.locked or canonical(p.text) in standing}
        return [p for p in applied if p.id in stands], [p for p in applied if p.id not in stands]

    async def _verify(self, standing: Sequence[str], candidates: list[str]) -> list[str]:
        """The candidates that bring a new generation closer to the user's text than the draft was."""
        before = word_distance(self._edit.draft, self._edit.edited_text)
        together, *without = await asyncio.gather(
            self._distance_with([*standing, *candidates]),
            *(self._distance_with([*standing, *_without(candidates, c)]) for c in candidates if len(candidates) > 1),
        )
        if together < before:
            return [c for c, d in zip(candidates, without or [before], strict=True) if d >= together]
        alone = await asyncio.gather(*(self._distance_with([*standing, c]) for c in candidates))
        return [c for c, d in zip(candidates, alone, strict=True) if d < before]

    async def _missed(self, standing: list[str], contradicted: list[Preference]) -> list[Preference]:
        """Those a merge left out by mistake: a new generation without them is further from the user's text."""
        if not contradicted:
            return []
        without, *with_each = await asyncio.gather(
            self._distance_with(standing), *(self._distance_with([*standing, p.text]) for p in contradicted)
        )
        return [p for p, distance in zip(contradicted, with_each, strict=True) if distance < without]

    async def _distance_with(self, texts: Sequence[str]) -> int:
        turn = self._edit.turn
        prompt = compose(turn.request, turn.applied_values, texts, system_role=self._system_role)
        room = 64 + 4 * len(words(self._edit.edited_text))
        answer = await self._generate(prompt, min(room, 2048))
        return word_distance(answer.text, self._edit.edited_text)

    async def _generate(self, messages: Sequence[Message], max_tokens: int) -> Generation:
        answer = await self._generator.generate(messages, max_tokens=max_tokens)
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        return answer


def _without(texts: list[str], dropped: str) -> list[str]:
    return [text for text in texts if text != dropped]
