"""What one edit teaches: infer → prune, by generations alone; nothing is stored here.

CIPHER (arXiv 2404.15269) infers from draft and edit. As in PROSE, what was inferred counts only as far as generating
again with it comes closer to the user's text. The same measure says which preferences of before the edit contradicts:
those without which a generation comes closer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from preference.distance import word_distance, words
from preference.feedback import Edit
from preference.inference import inference_messages, parse_preferences
from preference.ports import Generation, TextGenerator
from preference.preferences import Preference
from preference.prompt import Message, compose
from preference.text import canonical

PRUNED = 24
"""So many preferences are tried without, at most, the newest ones."""
SLIP = 2
"""Words; an edit as small is one of the text, unless preferences explain all of it."""
EXPLAINED = 0.1
"""The share of words that may differ where the preferences applied are said to have held."""


@dataclass(frozen=True)
class Lesson:
    """What one edit teaches: texts to add, applied preferences it confirms or contradicts, and why nothing else.

    An applied preference that shows neither in the draft nor now is neither.
    """

    new: list[str] = field(default_factory=list)
    confirmed: list[Preference] = field(default_factory=list)
    contradicted: list[Preference] = field(default_factory=list)
    reason: str | None = None


class Study:
    """Studies one ``edit`` of a draft that was made by ``applied``, in that order.

    ``prompt_tokens`` and ``completion_tokens`` say what it cost.
    """

    def __init__(self, generator: TextGenerator, edit: Edit, applied: list[Preference], *, system_role: bool) -> None:
        self._generator = generator
        self._edit = edit
        self._applied = applied
        self._fixed = {p.text for p in applied if p.locked or p.source == "stated"}
        self._system_role = system_role
        self._written: dict[tuple[str, ...], str] = {}
        self.prompt_tokens = 0
        self.completion_tokens = 0

    async def lesson(self) -> Lesson:
        """The lesson. Raises what the generator raises."""
        edit, applied = self._edit, self._applied
        cost = word_distance(edit.draft, edit.edited_text)
        if cost == 0:
            same = edit.draft == edit.edited_text
            reason = "the draft was accepted as it was" if same else "the edit differs from the draft in spaces alone"
            return Lesson(confirmed=applied, reason=reason)
        if edit.turn.partial:
            return Lesson(confirmed=applied, reason="the draft was cut short, so the edit says little about it")
        texts, tried = await self._explain(cost)
        kept = [p.text for p in applied if p.text in texts]
        new = _less(texts, set(kept))
        if not new and len(kept) == len(applied):
            held = cost <= max(SLIP, EXPLAINED * len(words(edit.edited_text)))
            return Lesson(confirmed=applied if held else [], reason=_nothing(tried))
        showed, shows = await self._showing([p.text for p in applied]), await self._showing(texts)
        return Lesson(
            new,
            confirmed=[p for p in applied if p.text in shows],
            contradicted=[p for p in applied if p.text not in kept or (p.text in showed and p.text not in shows)],
        )

    async def _explain(self, cost: int) -> tuple[list[str], list[str]]:
        """Texts by which a generation comes nearest to the edit, applied ones first, and what was tried in vain."""
        texts, drafts = [p.text for p in self._applied], [self._edit.draft]
        if texts:  # beside an answer without any, the edit shows all that the user prefers here
            drafts.append(await self._write([]))
        inferred = [_named(answer, texts) for answer in await self._infer(drafts)]
        candidates = [text for text in dict.fromkeys(chain(*inferred)) if text not in texts]
        found = await self._prune(texts, candidates, inferred)
        if await self._distance(found) < (cost if cost > SLIP else 1):
            return found, []
        return texts, candidates

    async def _infer(self, drafts: Sequence[str]) -> list[list[str]]:
        """For each of ``drafts``, what might turn it into the edit."""
        prompts = [inference_messages(draft, self._edit.edited_text) for draft in drafts]
        answers = await asyncio.gather(*(self._generate(prompt, 400) for prompt in prompts))
        return [parse_preferences(answer.text) for answer in answers]

    async def _prune(self, texts: list[str], candidates: list[str], inferred: Sequence[list[str]]) -> list[str]:
        """``texts`` and ``candidates`` less what does harm, and less candidates that change nothing.

        Or one of ``inferred`` as it is, where several of ``texts`` do harm only together.
        """
        together = [*texts, *candidates]
        tried = [text for text in together if text not in self._fixed][-PRUNED:]
        everything, *without = await asyncio.gather(
            self._distance(together), *(self._distance(_less(together, {text})) for text in tried)
        )
        harmful = {text for text, distance in zip(tried, without, strict=True) if distance < everything}
        idle = {
            text for text, distance in zip(tried, without, strict=True) if distance == everything and text in candidates
        }
        # Two that say the same look idle one by one; several that do harm may do it together.
        ways = [_less(together, harmful | idle), _less(together, harmful), _less(together, idle), together]
        fixed = [text for text in texts if text in self._fixed]
        instead = [[*fixed, *_less(answer, self._fixed)] for answer in inferred]
        singly = [_less(together, {text}) for text in harmful]
        alone = [[*texts, candidate] for candidate in candidates]
        tries = list({tuple(way): way for way in (*ways, *singly, *alone, *instead)}.values())
        distances = await asyncio.gather(*map(self._distance, tries))
        return min(zip(distances, range(len(tries)), tries, strict=True))[2]

    async def _showing(self, texts: list[str]) -> set[str]:
        """Those without which the answer would be another one; what the user fixed counts as such."""
        tried = [text for text in texts if text not in self._fixed][-PRUNED:]
        whole, *without = await asyncio.gather(
            self._write(texts), *(self._write(_less(texts, {text})) for text in tried)
        )
        return self._fixed | {text for text, answer in zip(tried, without, strict=True) if answer != whole}

    async def _distance(self, texts: Sequence[str]) -> int:
        return word_distance(await self._write(texts), self._edit.edited_text)

    async def _write(self, texts: Sequence[str]) -> str:
        """The answer that the request gets with ``texts``, asked for once."""
        if (known := self._written.get(tuple(texts))) is not None:
            return known
        turn = self._edit.turn
        prompt = compose(turn.request, turn.applied_values, texts, system_role=self._system_role)
        room = 64 + 4 * len(words(self._edit.edited_text))
        answer = await self._generate(prompt, min(room, 2048))
        self._written[tuple(texts)] = answer.text
        return answer.text

    async def _generate(self, messages: Sequence[Message], max_tokens: int) -> Generation:
        answer = await self._generator.generate(messages, max_tokens=max_tokens)
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        return answer


def _named(texts: Sequence[str], known: Sequence[str]) -> list[str]:
    """``texts``, in the words of ``known`` where these say the same."""
    names = {canonical(text): text for text in known}
    return [names.get(canonical(text), text) for text in texts]


def _less(texts: Sequence[str], dropped: set[str]) -> list[str]:
    return [text for text in texts if text not in dropped]


def _nothing(tried: Sequence[str]) -> str:
    if not tried:
        return "the edit shows no general preference"
    return f"generating again with it came no closer to the edit: {'; '.join(tried)}"
