"""One edit becomes preferences: studied, then stored. Runs in the worker, never in the request path.

What an edit contradicts gets no vote from its situation (`recall.py`). The second such edit ends the situations that
are outdated by then (`drift.py`), and a preference that holds in none any more.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from preference import drift, feedback, preferences, users
from preference.database import Database
from preference.errors import Conflict
from preference.feedback import Edit
from preference.owner import Owner
from preference.ports import Embedder, TextGenerator, Vectors
from preference.preferences import CONTEXT_CHARACTERS, Preference
from preference.prompt import last_user_text
from preference.recall import Partition
from preference.study import Lesson, Study
from preference.text import canonical

OnTokens = Callable[[str, int, int], None]
"""Told of a tenant, and of the prompt and completion tokens that a lesson of one of its users cost."""


class Learner:
    """Turns accepted feedback into stored preferences."""

    def __init__(
        self,
        database: Database,
        generator: TextGenerator,
        embedder: Embedder,
        *,
        max_preferences: int = 1000,
        system_role: bool = True,
        on_tokens: OnTokens = lambda tenant, prompt, completion: None,
    ) -> None:
        self._database = database
        self._generator = generator
        self._embedder = embedder
        self._max_preferences = max_preferences
        self._system_role = system_role
        self._on_tokens = on_tokens

    async def learn(self, owner: Owner, feedback_id: str) -> str | None:
        """Learn from one feedback row and resolve it; running it again after a crash changes nothing twice.

        Gives the row's new status; None when there was nothing left to do.
        """
        loaded = await self._database.read(_load, owner, feedback_id)
        if loaded is None:
            return None
        edit, applied = loaded
        study = Study(self._generator, edit, applied, system_role=self._system_role)
        try:
            lesson = await study.lesson()
        finally:
            self._on_tokens(owner.tenant, study.prompt_tokens, study.completion_tokens)
        context = last_user_text(edit.turn.request)[:CONTEXT_CHARACTERS]
        vector = (await asyncio.to_thread(self._embedder.embed, [context]))[0]
        return await self._database.write(self._store, owner, edit, lesson, context, vector)

    def _store(
        self, connection: Connection, owner: Owner, edit: Edit, lesson: Lesson, context: str, vector: Vectors
    ) -> str | None:
        if not users.lock(connection, owner) or feedback.pending_edit(connection, owner, edit.feedback_id) is None:
            return None  # erased, or replaced by a newer edit, while we were learning
        active = preferences.active(connection, owner)
        by_text = {canonical(p.text): p for p in active}
        present = {p.id for p in active}
        held = [p for p in lesson.confirmed if p.id in present]
        reason, added = lesson.reason, list[Preference]()
        for text in lesson.new:
            equal = by_text.get(canonical(text))
            try:
                added.append(
                    equal or preferences.create(connection, owner, text, "learned", limit=self._max_preferences)
                )
            except Conflict as error:  # what else the edit says counts all the same
                reason = error.message
        held += added
        for preference in held if context.strip() else ():
            preferences.add_context(
                connection, owner, preference.id, feedback_id=edit.feedback_id, text=context,
                embedder=self._embedder.name, vector=vector,
            )  # fmt: skip
        preferences.bound_situations(connection, owner)
        if replaced := feedback.replaced_by(connection, owner, edit.feedback_id):
            preferences.withdraw(connection, owner, replaced)
        against = {p.id for p in lesson.contradicted}
        # What the user corrected since wins over an edit of before.
        contradicted = {p.id for p in active if p.id in against and not p.locked and p.updated_at <= edit.created_at}
        gone = self._end(connection, owner, edit, contradicted, vector) if contradicted else set()
        for preference in active:
            if preference.id in gone and preference.source == "learned" and not preference.locked:
                preferences.supersede(connection, owner, preference.id, held[-1].id if held else None)
        changes = bool(added or against & present)
        status: feedback.Status = "learned" if changes else "nothing_learned"
        learned = [p.id for p in held] if changes else []
        return feedback.resolve(connection, owner, edit.feedback_id, status, reason, learned).status

    def _end(self, c: Connection, owner: Owner, edit: Edit, contradicted: set[str], vector: Vectors) -> set[str]:
        """End the situations that an edit makes outdated; the preferences that then hold nowhere."""
        contexts = preferences.contexts(c, owner, self._embedder.name)
        partition = Partition(0, preferences.active(c, owner), contexts, self._embedder.dimension)
        ended = drift.ended(partition, vector, edit.feedback_id, contradicted)
        preferences.end_situations(c, owner, [partition.situations[row] for row in ended])
        held = {id for row in ended for id in partition.holds[row]}
        holds = {id for row, ids in enumerate(partition.holds) if row not in ended for id in ids}
        return held - holds


def _load(connection: Connection, owner: Owner, feedback_id: str) -> tuple[Edit, list[Preference]] | None:
    """The edit, and what its draft was made with, in the words of then: the user may have corrected or deleted some.

    Without what was superseded, which may be learned again.
    """
    edit = feedback.pending_edit(connection, owner, feedback_id)
    if edit is None:
        return None
    known = {p.id: p for p in preferences.all_of(connection, owner)}
    applied = []
    for shown in edit.turn.applied_preferences:
        id, text = shown["id"], shown["text"]
        if id not in known:
            applied.append(Preference(id, text, "learned", "deleted", None, False, 0.0, 0.0))
        elif known[id].status == "active":
            applied.append(replace(known[id], text=text))
    return edit, applied
