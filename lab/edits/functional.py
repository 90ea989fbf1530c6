"""Functional match: does what was learned change answers as the wish's reference wording does, and nothing else?

A rule sees the wish in answers to unseen requests: without any preference, with the reference wording, and with the
learned text. The learned text has to gain most of what the reference gains. Nobody judges wordings.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.client import Client
from lab.edits import rules
from lab.edits.cases import Case, Check, messages
from lab.edits.play import Player, user_of
from lab.work import Work, digest
from preference.ports import TextGenerator
from preference.prompt import compose
from store.message import Message

ENOUGH = 0.8
"""The share of the reference's gain that a learned text must gain."""
LEAST_GAIN = 0.2
"""What the reference must gain itself: one request in five, else the model does not follow it, or needs not be told."""
MAX_TOKENS = 300
_AT_ONCE = 8


@dataclass
class Functional:
    """Measures cases that were played, each as a user of its own.

    ``system_role`` is the server's setting; ``done`` is told of each check.
    """

    generator: TextGenerator
    player: Player
    work: Work
    system_role: bool = True
    done: Callable[[], None] = lambda: None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def measure(self, cases: Sequence[Case]) -> dict[str, Any]:
        """``functional_found`` of ``functional_possible`` checks, each check, and whether other requests changed."""
        checks = [(case, check) for case in cases for check in case.check]
        told = list(await asyncio.gather(*(self._check(case, check) for case, check in checks)))
        others = [changed for case in cases if case.check and (changed := await self._other(case)) is not None]
        return {
            "functional_found": sum(check["found"] for check in told),
            "functional_possible": sum(check["possible"] for check in told),
            "other_asked": len(others),
            "other_changed": sum(others),
            "checks": told,
        }

    async def _check(self, case: Case, check: Check) -> dict[str, Any]:
        lesson = self.work.get("edit", "own", case.id)
        expectation = case.wishes.index(check.wish)
        learned = [told["text"] for told in lesson["learned"]] if lesson else []
        right = [text for text in learned if expectation in case.met(text)]
        none, reference, *by_text = await asyncio.gather(
            self._satisfied(check, []), *(self._satisfied(check, [text]) for text in (check.wish, *right))
        )
        gain = reference - none
        self.done()
        best = max(by_text, default=none)
        possible = gain >= LEAST_GAIN
        return {
            "id": case.id, "wish": check.wish, "rule": check.rule, "learned": right, "none": round(none, 3),
            "reference": round(reference, 3), "best": round(best, 3) if by_text else None, "possible": possible,
            "found": possible and bool(by_text) and best - none >= ENOUGH * gain,
        }  # fmt: skip

    async def _satisfied(self, check: Check, preferences: Sequence[str]) -> float:
        requests: list[list[Message]] = [messages(request) for request in check.unseen]
        prompts = [compose(request, (), preferences, self.system_role) for request in requests]
        return rules.mean(rules.of(check.rule), await asyncio.gather(*map(self._write, prompts)))

    async def _other(self, case: Case) -> bool | None:
        """Whether the answer to the other request changed though nothing came with it; None where that was not so."""
        asked = self.work.get("asked", "own", case.id)
        if not asked or asked["other"] is None or asked["other"]:
            return None
        async with self.player.client(user_of("own", case)) as client:
            return await _answer(client, case) != await _answer(client, case, personalize="off")

    async def _write(self, prompt: list[Message]) -> str:
        """What the engine answers, asked for once."""
        key = digest(json.dumps(prompt, ensure_ascii=False))
        if (known := self.work.get("generation", "", key)) is not None:
            return str(known["text"])
        async with self._slots:
            text = (await self.generator.generate(prompt, max_tokens=MAX_TOKENS)).text
        return str(self.work.add("generation", "", key, text=text)["text"])


async def _answer(client: Client, case: Case, **attune: Any) -> str:
    answer = await client.chat(messages(case.other), max_tokens=MAX_TOKENS, store=False, **attune)
    return str(answer.choices[0].message.content)
