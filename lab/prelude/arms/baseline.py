"""What all baselines share: the bare model, our place for preferences in its prompt, and our learner's two prompts."""

from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.merging import merge_messages
from lab.prelude.ports import Arm, Draft
from preference.learning.proposer import parse
from preference.prompt import compose
from preference.text import canonical
from store.message import Message

INFER_TOKENS, MERGE_TOKENS = 400, 600


class Baseline(Arm):
    """Asks without personalisation and stores nothing on the server: what it learns, it remembers itself."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client

    async def _answer(self, request: str, preferences: Sequence[str] = (), earlier: Sequence[Message] = ()) -> Draft:
        """The model's answer with preferences where a server puts its own, after an earlier exchange."""
        messages = compose([*earlier, {"role": "user", "content": request}], (), preferences)
        answer = await self._chat(messages, self.asking.answer_tokens)
        self.expense.answer_in += answer.usage.prompt_tokens
        self.expense.answer_out += answer.usage.completion_tokens
        return Draft(answer.choices[0].message.content or "", tuple(preferences), answer.id)

    async def _infer(self, draft: str, edited: str, request: str = "") -> list[str]:
        """The preferences that explain an edit."""
        return await self._study(self.asking.study(request, draft, edited), INFER_TOKENS)

    async def _merge(self, lists: Sequence[Sequence[str]]) -> list[str]:
        """One list out of several, oldest first. Equal texts go in once, and a single list needs no merging."""
        told = [held for held in lists if held]
        if len({tuple(map(canonical, held)) for held in told}) <= 1:
            return list(told[-1]) if told else []
        newest_first = [text for held in reversed(told) for text in reversed(held)]
        latest: dict[str, str] = {}
        for text in newest_first:
            latest.setdefault(canonical(text), text)
        return await self._study(merge_messages([*latest.values()][::-1]), MERGE_TOKENS)

    async def _chat(self, messages: Sequence[Message], max_tokens: int) -> Any:
        return await self._client.chat(messages, max_tokens=max_tokens, personalize="off", store=False)

    async def _study(self, messages: Sequence[Message], max_tokens: int) -> list[str]:
        answer = await self._chat(messages, max_tokens)
        self.expense.learner_in = (self.expense.learner_in or 0) + answer.usage.prompt_tokens
        self.expense.learner_out = (self.expense.learner_out or 0) + answer.usage.completion_tokens
        return parse(answer.choices[0].message.content or "")
