"""The draft that would have been written to a demonstrated request: made by the worker, and shown to nobody."""

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from preference.feedback import demonstrations, edit_rows, feedback
from preference.feedback.edit_rows import Edit
from preference.learning.judge import room_for
from preference.ports import Kinds, OnTokens, TextGenerator
from preference.prompt import compose
from preference.recall.index import Partition, RecallLimits
from preference.recall.kind import context_of
from preference.recall.recall import load
from store import turns, users
from store.database import Database
from store.message import Message
from store.owner import Owner
from store.values import Value


class Drafter:
    """Writes as the server would have: by the user's values and the preferences recalled, without an adapter."""

    def __init__(
        self,
        database: Database,
        generator: TextGenerator,
        embedder: Kinds,
        *,
        limits: RecallLimits,
        k: int,
        system_role: bool,
        on_tokens: OnTokens,
    ) -> None:
        self._database = database
        self._generator = generator
        self._embedder = embedder
        self._limits = limits
        self._k = k
        self._system_role = system_role
        self._on_tokens = on_tokens

    async def draft(self, owner: Owner, feedback_id: str) -> None:
        """Make the draft of a demonstration that waits for one. Raises what the generator raises."""
        edit = await self._database.read(edit_rows.pending, owner, feedback_id)
        if edit is None or not _waits(edit):
            return
        _, vector = await asyncio.to_thread(context_of, self._embedder, edit.turn.request)
        values, partition = await self._database.read(self._known, owner)
        query = partition.query(vector)
        kept = partition.chosen(partition.elect(query, self._k, self._limits), self._limits.budget, query=query)
        prompt = compose(edit.turn.request, values, [p.text for p in kept], system_role=self._system_role)
        room = room_for(edit.edited_text)
        answer = await self._generator.generate(prompt, max_tokens=room)
        self._on_tokens(owner.tenant, answer.prompt_tokens, answer.completion_tokens)
        written: dict[str, Any] = {
            "applied_values": [value.model_dump() for value in values],
            "applied_preferences": [{"id": p.id, "text": p.text, "score": round(p.score, 4)} for p in kept],
            "personalized": "retrieval" if kept else "none",
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cut": answer.completion_tokens >= room,
        }
        await self._database.write(_put, owner, edit, prompt, answer.text, written)

    def _known(self, c: Connection, owner: Owner) -> tuple[list[Value], Partition]:
        user = users.get(c, owner)
        return list(user.standing_values) if user else [], load(c, owner, self._embedder)


def _waits(edit: Edit) -> bool:
    """Whether the answer is one that nobody was given: an answer that broke off is what its user saw."""
    return edit.turn.partial and edit.turn.completion_id.startswith(demonstrations.PREFIX)


def _put(
    c: Connection, owner: Owner, edit: Edit, prompt: Sequence[Message], text: str, written: dict[str, Any]
) -> None:
    """Once: a repeat after a crash leaves the draft that is there."""
    if users.lock(c, owner):
        held = edit_rows.pending(c, owner, edit.feedback_id)
        if held is not None and _waits(held):
            turns.answer(c, owner, edit.turn.completion_id, prompt, text, **written)
            feedback.drafted(c, owner, edit.feedback_id, text)
