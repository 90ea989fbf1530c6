"""Attune itself, used as an app uses it: one user, whose every edit is sent, and who may get an adapter."""

import time
from collections.abc import Collection, Sequence
from typing import Any

from openai import ConflictError

from lab.client import Client, Tokens, since
from lab.prelude.ports import Arm, Draft

ADAPTER_SECONDS = 7200.0
"""How long an adapter may take: those of all users are trained in turn."""


class Attune(Arm):
    """Drafts that were sent as they are count as edits of no cost, which confirm what was used.

    After the rounds in ``training`` (counted from 1) an adapter is trained and waited for, and from then on it may
    serve. What learning costs is known where the user has a ``tenant`` alone.
    """

    sends_edits = True

    def __init__(self, client: Client, tenant: str | None = None, training: Collection[int] | None = None) -> None:
        super().__init__()
        self._client = client
        self._tenant = tenant
        self._spent: Tokens | None = None
        self._personalize = "retrieval" if training is None else "auto"
        self._training = frozenset(training or ())
        self._rounds = 0

    async def complete(self, request: str) -> Draft:
        """The server's answer for this user."""
        messages = [{"role": "user", "content": request}]
        tokens = self.asking.answer_tokens
        answer = await self._client.chat(messages, max_tokens=tokens, personalize=self._personalize)
        self.expense.answer_in += answer.usage.prompt_tokens
        self.expense.answer_out += answer.usage.completion_tokens
        used = tuple(preference["text"] for preference in answer.attune["preferences"])
        return Draft(answer.choices[0].message.content or "", used, answer.id)

    async def learn(self, request: str, draft: Draft, edited: str) -> dict[str, Any]:
        """Give feedback, and wait until it was learned from."""
        given = await self._give(request, draft, edited)
        held = await self._client.learned(given, self.asking.learn_seconds) if given else {}
        await self._count()
        self._rounds += 1
        lesson: dict[str, Any] = {"status": held.get("status"), "reason": held.get("reason")}
        if self.sends_edits:
            lesson["feedback"] = given
        if self._rounds in self._training:
            lesson["adapter"] = await self._train(request)
        return lesson

    async def restore(self, lessons: Sequence[dict[str, Any]]) -> None:
        """The server remembers everything else; it forgets the edit of a round that was not written down."""
        self._spent = await self._client.learning_tokens(self._tenant)
        self._rounds = len(lessons)
        if self.sends_edits:
            await self._client.forget_since({lesson["feedback"] for lesson in lessons})

    async def _give(self, request: str, draft: Draft, edited: str) -> str | None:
        """Send what the user sent; the feedback's id, None where there is nothing to say."""
        return await self._client.send_edit(draft.completion_id, edited)

    async def _train(self, request: str) -> dict[str, Any]:
        """Have an adapter made, and wait until it answers or was refused."""
        began = time.monotonic()
        try:
            version = await self._client.train()
        except ConflictError:  # an interrupted run had begun it
            version = (await self._client.adapters())["data"][-1]["version"]
        made = await self._client.settled(version, request, ADAPTER_SECONDS)
        told = {key: made[key] for key in ("version", "state", "mode", "report")}
        return {**told, "seconds": round(time.monotonic() - began, 1)}

    async def _count(self) -> None:
        before, self._spent = self._spent, await self._client.learning_tokens(self._tenant)
        spent, expense = since(before, self._spent), self.expense
        if spent is None or expense.learner_in is None or expense.learner_out is None:
            expense.learner_in = expense.learner_out = None
        else:
            expense.learner_in += spent[0]
            expense.learner_out += spent[1]
