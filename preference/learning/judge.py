"""How much more an edit is explained with a preference in the prompt than without: no text is written for it.

    lift(c) = [log p(edited | x, C+c) - log p(edited | x, C)] - [log p(draft | x, C+c) - log p(draft | x, C)]

on the changed tokens alone, each clipped, less what unrelated wishes lift (as cohorts normalise scores in speaker
verification). Likelihood as a label is Selfie's idea (arXiv 2406.04412), as a reward FLR's (2409.13948).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

from rapidfuzz.distance.Indel import opcodes

from preference.distance import word_distance, words
from preference.feedback.edit_rows import Edit
from preference.ports import Scorer, TextGenerator, TokenScores
from preference.prompt import compose
from store.errors import ScoringUnavailable
from store.message import Message
from store.values import Value

CLIP = 3.0
"""Nats; a token that quotes the preference lifts by more than all the others together."""
SPREAD = 1.0
"""Nats; what the cohort's spread is taken to be at least."""
TEXT = 4000
"""Characters of a text that is scored; vLLM holds a whole vocabulary of numbers for each token."""
WRITTEN = 2048
"""Tokens of an answer that is compared with an edit, at most."""
T = TypeVar("T")


class Judge(Protocol):
    """Says how far candidates explain one edit."""

    tokens: int

    async def lifts(self, candidates: Sequence[str], beside: Sequence[str] = ()) -> list["Lift"]:
        """The lift of each of ``candidates`` over ``beside``, which is in the prompt without it."""
        ...

    async def supports(self, texts: Sequence[str], judged: Sequence[str]) -> list[float]:
        """For each of ``judged``, which are of ``texts``: how much less likely the edit is without it."""
        ...


@dataclass(frozen=True)
class Lift:
    """How far a wish explains an edit: ``nats``, and ``z`` in spreads of the cohort beyond its median.

    ``edited`` is its part that makes the edit likelier, beyond the cohort's; the rest makes the draft less likely.
    """

    nats: float
    z: float
    edited: float


class LikelihoodJudge:
    """Judges candidates about one edit, in the context that its draft was written in.

    ``tokens`` says how many were scored so far.
    """

    def __init__(
        self,
        scorer: Scorer,
        request: Sequence[Message],
        values: Sequence[Value],
        draft: str,
        edited: str,
        *,
        system_role: bool,
        cohort: Sequence[str] = (),
    ) -> None:
        self._scorer = scorer
        self._request = request
        self._values = values
        self._texts = (draft[:TEXT], edited[:TEXT])
        self._system_role = system_role
        self._cohort = tuple(cohort)
        self._known: dict[tuple[str, ...], tuple[TokenScores, TokenScores]] = {}
        self.tokens = 0

    async def lifts(self, candidates: Sequence[str], beside: Sequence[str] = ()) -> list[Lift]:
        """The lift of each of ``candidates`` over ``beside``, which is in the prompt without it."""
        base = tuple(beside)
        if not self._cohort:
            return await self._among_all(base, candidates)
        with_each = [(*base, text) for text in (*candidates, *self._cohort)]
        await self._score([base, *with_each])
        found = [self._lift(base, texts) for texts in with_each]
        of_cohort = found[len(candidates) :]
        middle, edited_middle = (median(values) for values in zip(*of_cohort, strict=True))
        spread = SPREAD + 1.48 * median(abs(nats - middle) for nats, _ in of_cohort)
        judged = found[: len(candidates)]
        return [Lift(nats - middle, (nats - middle) / spread, edited - edited_middle) for nats, edited in judged]

    async def _among_all(self, base: tuple[str, ...], candidates: Sequence[str]) -> list[Lift]:
        """For a model that follows all of many wishes at once: each alone, and each beside all of the others.

        Some show only beside the others, as what they change has moved; of two that say the same neither does.
        """
        whole = (*base, *candidates)
        alone = [(*base, text) for text in candidates]
        others = [tuple(text for text in whole if text != one) for one in candidates]
        await self._score([base, whole, *alone, *others])
        found = []
        for with_it, without_it in zip(alone, others, strict=True):
            by_itself, beside = self._borne_out(base, with_it), self._borne_out(without_it, whole)
            nats = beside if beside < -SPREAD else max(by_itself, beside)
            found.append(Lift(nats, nats / SPREAD, nats))
        return found

    def _borne_out(self, before: tuple[str, ...], after: tuple[str, ...]) -> float:
        """The lift, or what the whole edit loses, if it does: any forceful wish makes a draft less likely."""
        lift, support = self._lift(before, after)[0], self._support(before, after)
        return lift if support > -SPREAD else min(lift, support)

    def _support(self, before: tuple[str, ...], after: tuple[str, ...]) -> float:
        """By how many nats the whole edit is likelier with ``after`` than with ``before``."""
        without, with_it = self._known[before][1], self._known[after][1]
        return sum(_clipped(a - b) for a, b in zip(with_it.logprobs, without.logprobs, strict=True))

    async def supports(self, texts: Sequence[str], judged: Sequence[str]) -> list[float]:
        """For each of ``judged``, which are of ``texts``: by how many nats the whole edit is less likely without it."""
        whole = tuple(texts)
        without = [tuple(text for text in whole if text != one) for one in judged]
        await self._score([whole, *without])
        return [self._support(less, whole) for less in without]

    async def _score(self, ways: Sequence[tuple[str, ...]]) -> None:
        new = [way for way in dict.fromkeys(ways) if way not in self._known]
        pairs = [
            (compose(self._request, self._values, way, system_role=self._system_role), text)
            for way in new
            for text in self._texts
        ]
        scores = await self._scorer.score(pairs) if pairs else []
        self.tokens += sum(len(one.tokens) for one in scores)
        for at, way in enumerate(new):
            self._known[way] = (scores[2 * at], scores[2 * at + 1])

    def _lift(self, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[float, float]:
        """What ``after`` lifts the edit over the draft by, and its part that is the edit's own."""
        (draft, edited), (draft_with, edited_with) = self._known[before], self._known[after]
        of_draft, of_edit = changed_tokens(draft.tokens, edited.tokens)
        gain = sum(_clipped(edited_with.logprobs[at] - edited.logprobs[at]) for at in of_edit)
        loss = sum(_clipped(draft_with.logprobs[at] - draft.logprobs[at]) for at in of_draft)
        return gain - loss, gain


def changed_tokens(draft: Sequence[int], edited: Sequence[int]) -> tuple[list[int], list[int]]:
    """The positions in draft and edit that differ, and those after a gap: where something was cut, the next token."""
    of_draft: set[int] = set()
    of_edit: set[int] = set()
    for step in opcodes(draft, edited):
        if step.tag == "equal":
            continue
        of_draft.update(range(step.src_start, step.src_end) or [step.src_start])
        of_edit.update(range(step.dest_start, step.dest_end) or [step.dest_start])
    return sorted(at for at in of_draft if at < len(draft)), sorted(at for at in of_edit if at < len(edited))


def room_for(edited: str) -> int:
    """Tokens that an answer may take that is compared with ``edited``: what needs many more is another text."""
    return min(64 + 4 * len(words(edited)), WRITTEN)


def _clipped(nats: float) -> float:
    return max(-CLIP, min(CLIP, nats))


class WritingJudge:
    """For engines that score no text: an answer with a candidate beside one without, both compared with the edit.

    Neither is compared with the draft, which may have been sampled, or worded anew by chance. Lifts are in words of
    the edit, and weigh as much as ``WORDS`` of them make a nat.
    """

    WORDS = 2.0

    def __init__(
        self,
        generator: TextGenerator,
        request: Sequence[Message],
        values: Sequence[Value],
        edited: str,
        *,
        system_role: bool,
    ) -> None:
        self._generator = generator
        self._request = request
        self._values = values
        self._edited = edited
        self._system_role = system_role
        self._distances: dict[tuple[str, ...], int] = {}
        self.tokens = 0

    async def lifts(self, candidates: Sequence[str], beside: Sequence[str] = ()) -> list[Lift]:
        """See ``Judge``."""
        base = await self._distance(tuple(beside))
        found = []
        for text in candidates:
            nats = (base - await self._distance((*beside, text))) / self.WORDS
            found.append(Lift(nats, nats, nats))
        return found

    async def supports(self, texts: Sequence[str], judged: Sequence[str]) -> list[float]:
        """See ``Judge``."""
        whole = await self._distance(tuple(texts))
        without = [tuple(text for text in texts if text != one) for one in judged]
        return [(await self._distance(less) - whole) / self.WORDS for less in without]

    async def _distance(self, texts: tuple[str, ...]) -> int:
        if texts not in self._distances:
            prompt = compose(self._request, self._values, texts, system_role=self._system_role)
            answer = await self._generator.generate(prompt, max_tokens=room_for(self._edited))
            self.tokens += answer.prompt_tokens + answer.completion_tokens
            self._distances[texts] = word_distance(answer.text, self._edited)
        return self._distances[texts]


@dataclass(frozen=True)
class Judges:
    """Makes the judges of edits, by the served model. ``cohort`` are wishes that hardly any edit shows."""

    generator: TextGenerator
    scorer: Scorer | None
    system_role: bool
    cohort: Sequence[str]

    def by_likelihood(self, edit: Edit, edited: str) -> LikelihoodJudge:
        """Of ``edit`` as if its text were ``edited``. Raises ``ScoringUnavailable`` where no engine scores texts."""
        if self.scorer is None:
            raise ScoringUnavailable("No engine scores texts.")
        return LikelihoodJudge(
            self.scorer, edit.turn.request, edit.turn.applied_values, edit.draft, edited,
            system_role=self.system_role, cohort=self.cohort,
        )  # fmt: skip

    async def ask(self, edit: Edit, question: Callable[[Judge], Awaitable[T]]) -> tuple[T, int]:
        """What a judge of ``edit`` answers, and its tokens; one that writes answers where the engine scores nothing."""
        judge: Judge
        try:
            judge = self.by_likelihood(edit, edit.edited_text)
            return await question(judge), judge.tokens
        except ScoringUnavailable:
            turn = edit.turn
            judge = WritingJudge(
                self.generator, turn.request, turn.applied_values, edit.edited_text, system_role=self.system_role
            )
            return await question(judge), judge.tokens
