"""One edit becomes preferences: infer → verify → merge → store. Runs in the worker, never in the request path.

CIPHER (arXiv 2404.15269) infers from draft and edit; as in PROSE, what was inferred is kept only if generating again
with it comes closer to the user's text. What an edit contradicts gets no vote from its context (`recall.py`), and ends
when it is outvoted wherever it was learned.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from preference import feedback, preferences, users
from preference.database import Database
from preference.distance import word_distance, words
from preference.feedback import Edit
from preference.inference import inference_messages, merge_messages, parse_preferences
from preference.owner import Owner
from preference.ports import Embedder, TextGenerator, Vectors
from preference.preferences import Preference
from preference.prompt import compose, last_user_text
from preference.recall import Partition, RecallLimits
from preference.text import canonical

CONTEXT_CHARACTERS = 4000
"""How much of a request is kept as a context; the embedder reads less."""


@dataclass(frozen=True)
class Lesson:
    """What one edit teaches: texts to add, applied preferences it confirms or contradicts, and why nothing else."""

    new: list[str] = field(default_factory=list)
    confirmed: list[Preference] = field(default_factory=list)
    contradicted: list[Preference] = field(default_factory=list)
    reason: str | None = None


class Learner:
    """Turns accepted feedback into stored preferences. ``k`` and ``limits`` are those of recall."""

    def __init__(
        self,
        database: Database,
        generator: TextGenerator,
        embedder: Embedder,
        *,
        k: int,
        limits: RecallLimits,
        max_preferences: int = 1000,
        system_role: bool = True,
    ) -> None:
        self._database = database
        self._generator = generator
        self._embedder = embedder
        self._k = k
        self._limits = limits
        self._max_preferences = max_preferences
        self._system_role = system_role

    async def learn(self, owner: Owner, feedback_id: str) -> str | None:
        """Learn from one feedback row and resolve it; running it again after a crash changes nothing twice.

        Gives the row's new status; None when there was nothing left to do.
        """
        edit, active = await self._database.read(_load, owner, feedback_id)
        if edit is None:
            return None
        lesson = await self._study(edit, active)
        context = last_user_text(edit.turn.request)[:CONTEXT_CHARACTERS]
        vector = (await asyncio.to_thread(self._embedder.embed, [context]))[0]
        return await self._database.write(self._store, owner, edit, lesson, context, vector)

    async def _study(self, edit: Edit, active: list[Preference]) -> Lesson:
        shown = {applied["id"] for applied in edit.turn.applied_preferences}
        applied = [p for p in active if p.id in shown]
        if word_distance(edit.draft, edit.edited_text) == 0:
            return Lesson(confirmed=applied, reason="the draft was accepted as it was")
        if edit.turn.partial:
            return Lesson(confirmed=applied, reason="the draft was cut short, so the edit says little about it")
        inferred = await self._infer(edit)
        known = {canonical(p.text) for p in applied}
        candidates = [text for text in inferred if canonical(text) not in known]
        if not candidates:
            return Lesson(confirmed=applied, reason="the edit shows no general preference")
        confirmed, contradicted = await self._merge(applied, candidates)
        verified = await self._verify(edit, [p.text for p in confirmed], candidates)
        if not verified:
            texts = "; ".join(candidates)
            return Lesson(confirmed=applied, reason=f"generating again with it came no closer to the edit: {texts}")
        missed = await self._missed(edit, [*(p.text for p in confirmed), *verified], contradicted)
        return Lesson(
            new=verified,
            confirmed=[*confirmed, *missed],
            contradicted=[p for p in contradicted if p not in missed],
        )

    async def _infer(self, edit: Edit) -> list[str]:
        answer = await self._generator.generate(inference_messages(edit.draft, edit.edited_text), max_tokens=400)
        return parse_preferences(answer.text)

    async def _merge(
        self, applied: list[Preference], candidates: list[str]
    ) -> tuple[list[Preference], list[Preference]]:
        """Which applied preferences still stand beside the new ones. What is locked always stands."""
        if not applied:
            return [], []
        oldest_first = sorted(applied, key=lambda p: p.updated_at)
        answer = await self._generator.generate(
            merge_messages([*(p.text for p in oldest_first), *candidates]), max_tokens=600
        )
        standing = {canonical(text) for text in parse_preferences(answer.text)}
        if not standing & {canonical(text) for text in candidates}:
            return applied, []  # not a merge of what was asked: change nothing that was learned before
        stands = {p.id for p in applied if p.locked or canonical(p.text) in standing}
        return [p for p in applied if p.id in stands], [p for p in applied if p.id not in stands]

    async def _verify(self, edit: Edit, standing: Sequence[str], candidates: list[str]) -> list[str]:
        """The candidates that bring a new generation closer to the user's text than the draft was."""
        before = word_distance(edit.draft, edit.edited_text)
        together, *without = await asyncio.gather(
            self._distance_with(edit, [*standing, *candidates]),
            *(
                self._distance_with(edit, [*standing, *_without(candidates, c)])
                for c in candidates
                if len(candidates) > 1
            ),
        )
        if together < before:
            return [c for c, d in zip(candidates, without or [before], strict=True) if d >= together]
        alone = await asyncio.gather(*(self._distance_with(edit, [*standing, c]) for c in candidates))
        return [c for c, d in zip(candidates, alone, strict=True) if d < before]

    async def _missed(self, edit: Edit, standing: list[str], contradicted: list[Preference]) -> list[Preference]:
        """Those a merge left out by mistake: a new generation without them is further from the user's text."""
        if not contradicted:
            return []
        without, *with_each = await asyncio.gather(
            self._distance_with(edit, standing), *(self._distance_with(edit, [*standing, p.text]) for p in contradicted)
        )
        return [p for p, distance in zip(contradicted, with_each, strict=True) if distance < without]

    async def _distance_with(self, edit: Edit, texts: Sequence[str]) -> int:
        turn = edit.turn
        prompt = compose(turn.request, turn.applied_values, texts, system_role=self._system_role)
        room = 64 + 4 * len(words(edit.edited_text))
        answer = await self._generator.generate(prompt, max_tokens=min(room, 2048))
        return word_distance(answer.text, edit.edited_text)

    def _store(
        self, connection: Connection, owner: Owner, edit: Edit, lesson: Lesson, context: str, vector: Vectors
    ) -> str | None:
        if not users.lock(connection, owner) or feedback.pending_edit(connection, owner, edit.feedback_id) is None:
            return None  # erased, or replaced by a newer edit, while we were learning
        active = preferences.active(connection, owner)
        by_text = {canonical(p.text): p for p in active}
        present = {p.id for p in active}
        held = [p for p in lesson.confirmed if p.id in present]
        for text in lesson.new:
            equal = by_text.get(canonical(text))
            held.append(equal or preferences.create(connection, owner, text, "learned", limit=self._max_preferences))
        for preference in held if context.strip() else ():
            preferences.add_context(
                connection, owner, preference.id, feedback_id=edit.feedback_id, text=context,
                embedder=self._embedder.name, vector=vector,
            )  # fmt: skip
        if replaced := feedback.replaced_by(connection, owner, edit.feedback_id):
            preferences.withdraw(connection, owner, replaced)
        contradicted = [p for p in active if p in lesson.contradicted and not p.locked]
        if contradicted:
            self._supersede(connection, owner, contradicted, held[-1].id if held else None)
        status: feedback.Status = "learned" if lesson.new else "nothing_learned"
        learned = [p.id for p in held] if lesson.new else []
        return feedback.resolve(connection, owner, edit.feedback_id, status, lesson.reason, learned).status

    def _supersede(self, connection: Connection, owner: Owner, contradicted: list[Preference], by: str | None) -> None:
        """End what was contradicted and is by now outvoted in every situation that it was learned in."""
        contexts = preferences.contexts(connection, owner, self._embedder.name)
        partition = Partition(0, preferences.active(connection, owner), contexts, self._embedder.dimension)
        for preference in contradicted:
            if any(preference.id in held for held in partition.holds) and partition.is_outvoted(
                preference.id, self._k, self._limits
            ):
                preferences.supersede(connection, owner, preference.id, by)


def _load(connection: Connection, owner: Owner, feedback_id: str) -> tuple[Edit | None, list[Preference]]:
    return feedback.pending_edit(connection, owner, feedback_id), preferences.active(connection, owner)


def _without(texts: list[str], dropped: str) -> list[str]:
    return [text for text in texts if text != dropped]
