"""One edit becomes preferences: studied, then stored. Runs in the worker, never in the request path.

What an edit says for and against preferences is stored with its request's context; `evidence.py` adds it up. A comment
is an edit that is not there yet, and a demonstration one of a draft that is made here.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from preference import context_rows, preferences
from preference.feedback import edit_rows, feedback, signals
from preference.feedback.edit_rows import Edit
from preference.learning.comments import PAST, Commentary
from preference.learning.drafting import Drafter
from preference.learning.findings import Findings
from preference.learning.meaning import first_same
from preference.learning.prompt_file import PromptFile
from preference.learning.proposer import Proposer
from preference.learning.study import Cost, Study
from preference.ports import Kinds, OnTokens, Scorer, TextGenerator, Vectors
from preference.preferences import Preference
from preference.recall.index import RecallLimits
from preference.recall.kind import context_of
from preference.recall.recall import load
from preference.recall.similarity import units
from preference.text import canonical
from store import users
from store.database import Database
from store.errors import Conflict
from store.owner import Owner

_LIMITS = RecallLimits()


class Learner:
    """Turns accepted feedback into stored preferences."""

    def __init__(
        self,
        database: Database,
        generator: TextGenerator,
        embedder: Kinds,
        *,
        scorer: Scorer | None = None,
        proposing: TextGenerator | None = None,
        prompts: PromptFile | None = None,
        limits: RecallLimits = _LIMITS,
        k: int = 10,
        max_preferences: int = 1000,
        system_role: bool = True,
        on_tokens: OnTokens = lambda tenant, prompt, completion: None,
    ) -> None:
        """``generator`` and ``scorer`` are the served model; ``proposing`` is another one that proposes, if any.

        ``limits`` and ``k`` are those of the recall that uses what is learned.
        """
        self._database = database
        self._embedder = embedder
        self._limits = limits
        self._k = k
        self._max_preferences = max_preferences
        self._on_tokens = on_tokens
        prompts = prompts or PromptFile.load()
        # Another model is not the one whose chat template was looked at.
        its_role = system_role or proposing is not None
        proposer = Proposer(proposing or generator, prompts, system_role=its_role)
        self._study = Study(proposer, generator, scorer, system_role=system_role)
        self._comments = Commentary(
            proposing or generator, generator, scorer, prompts, system_role=system_role, proposing_system_role=its_role
        )
        self._drafter = Drafter(
            database, generator, embedder, limits=limits, k=k, system_role=system_role, on_tokens=on_tokens
        )
        self._by_meaning = prompts.filtered

    async def learn(self, owner: Owner, feedback_id: str) -> str | None:
        """Learn from one feedback row and resolve it; running it again after a crash changes nothing twice.

        Gives the row's new status; None when there was nothing left to do.
        """
        await self._drafter.draft(owner, feedback_id)
        loaded = await self._database.read(_load, owner, feedback_id)
        if loaded is None:
            return None
        edit, applied, known = loaded
        context, vector = await asyncio.to_thread(context_of, self._embedder, edit.turn.request)
        cost = Cost()
        try:
            findings, cost = await self._findings(owner, edit, applied, vector)
        finally:
            self._on_tokens(owner.tenant, cost.prompt_tokens, cost.completion_tokens)
        names = self._names(findings, known)
        return await self._database.write(self._store, owner, edit, findings, names, context, vector)

    async def _findings(
        self, owner: Owner, edit: Edit, applied: Sequence[Preference], vector: Vectors
    ) -> tuple[Findings, Cost]:
        share = edit.weight * (signals.MODEL if edit.source == "model" else 1.0)
        if not share:
            return Findings(reason="its weight is 0: it says nothing"), Cost()
        if edit.comment is None:
            findings, cost = await self._study.study(edit, applied)
        else:
            past = await self._database.read(self._past, owner, vector)
            findings, cost = await self._comments.study(edit, applied, past)
        return findings.weighed(share), cost

    def _past(self, c: Connection, owner: Owner, vector: Vectors) -> list[Edit]:
        """The newest edits of contexts of the kind that ``vector``, [dimension], is of."""
        kinds = self._embedder.kinds
        near: dict[str, float] = {}
        for context in context_rows.by_embedder(c, owner, self._embedder.name):
            if context.feedback_id is not None and context.weight > 0:
                alike = float(units(context.vector[:kinds]) @ units(vector[:kinds]))
                if alike >= self._limits.alike:
                    near[context.feedback_id] = context.created_at
        newest = sorted(near, key=lambda id: near[id])[-4 * PAST :]
        return edit_rows.named(c, owner, newest)[-PAST:]

    def _names(self, findings: Findings, known: Sequence[Preference]) -> dict[str, str]:
        """For each new text, the text of a known preference that says the same, if there is one."""
        if not self._by_meaning:
            return {}
        texts = [p.text for p in known]
        named = ((new.text, first_same(new.text, texts)) for new in findings.new)
        return {text: other for text, other in named if other is not None}

    def _store(
        self,
        connection: Connection,
        owner: Owner,
        edit: Edit,
        findings: Findings,
        names: dict[str, str],
        context: str,
        vector: Vectors,
    ) -> str | None:
        if not users.lock(connection, owner) or edit_rows.pending(connection, owner, edit.feedback_id) is None:
            return None  # erased, or replaced by a newer edit, while we were learning
        active = preferences.active(connection, owner)
        by_text = {canonical(p.text): p for p in active}
        by_id = {p.id: p for p in active}
        reason, added = findings.reason, list[Preference]()
        weights = {id: weight for id, weight in findings.evidence.items() if id in by_id}
        for new in findings.new:
            held = by_text.get(canonical(names.get(new.text, new.text)))
            try:
                held = held or preferences.create(connection, owner, new.text, "learned", limit=self._max_preferences)
            except Conflict as error:  # what else the edit says counts all the same
                reason = error.message
                continue
            added.append(held)
            weights[held.id] = new.weight
        # What the user corrected since wins over an edit of before; what they locked or said is beyond evidence.
        open_ones = {p.id for p in active if _open_to(p, edit)}
        against = {id for id, weight in weights.items() if weight < 0 and id in open_ones}
        weights = {id: weight for id, weight in weights.items() if weight > 0 or id in against}
        for id, weight in weights.items() if context.strip() else ():
            context_rows.add(
                connection, owner, id, feedback_id=edit.feedback_id, text=context, embedder=self._embedder.name,
                vector=vector, weight=weight,
            )  # fmt: skip
        context_rows.bound(connection, owner)
        if replaced := feedback.replaced_by(connection, owner, edit.feedback_id):
            context_rows.withdraw(connection, owner, replaced)
        stands = [id for id, weight in weights.items() if weight > 0]
        for id in self._ended(connection, owner, against) if against else ():
            preferences.supersede(connection, owner, id, stands[-1] if stands else None)
        changes = bool(added or against)
        status: feedback.Status = "learned" if changes else "nothing_learned"
        learned = stands if changes else []
        candidates = [candidate.as_json() for candidate in findings.candidates]
        return feedback.resolve(
            connection, owner, edit.feedback_id, status, reason, learned, candidates=candidates
        ).status

    def _ended(self, c: Connection, owner: Owner, ids: Collection[str]) -> list[str]:
        """Those of ``ids`` that no context that spoke for them would recall any more."""
        partition = load(c, owner, self._embedder)
        return [id for id in sorted(ids) if not partition.recalled_somewhere(id, self._k, self._limits)]


def _open_to(preference: Preference, edit: Edit) -> bool:
    """Whether ``edit`` may speak against it."""
    return not preference.locked and preference.source == "learned" and preference.updated_at <= edit.created_at


def _load(
    connection: Connection, owner: Owner, feedback_id: str
) -> tuple[Edit, list[Preference], list[Preference]] | None:
    """The edit, what its draft was made with, in the words of then (some may be corrected or deleted), what is known.

    Without what was superseded, which may be learned again.
    """
    edit = edit_rows.pending(connection, owner, feedback_id)
    if edit is None:
        return None
    everything = preferences.all_of(connection, owner)
    known = {p.id: p for p in everything}
    applied = []
    for shown in edit.turn.applied_preferences:
        id, text = shown["id"], shown["text"]
        if id not in known:
            applied.append(Preference(id, text, "learned", "deleted", None, False, 0.0, 0.0))
        elif known[id].status == "active":
            applied.append(replace(known[id], text=text))
    return edit, applied, [p for p in everything if p.status == "active"]
