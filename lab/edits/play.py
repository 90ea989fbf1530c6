"""Plays cases as an app's users would: a request, its draft, the edit, and later requests, over the public API."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openai import BadRequestError

from lab.client import Client, since
from lab.edits.cases import Case, Request, messages
from lab.edits.stand_in import StandIn
from lab.refusal import Refused
from lab.work import Work

Mode = Literal["own", "one"]
"""Each case is a user of its own; or all cases are one user's, in the file's order."""
_TENANT = "local"  # that of a server without keys
_SECONDS = 3600.0  # that learning from one edit may take


class NotDrafted(Refused):
    """The server did not answer with the case's draft."""


def user_of(mode: str, case: Case) -> str:
    """Whose the case's edit is."""
    return f"edits-{case.id}" if mode == "own" else "edits"


@dataclass
class Player:
    """Plays cases on the server at ``base``, behind which ``stand_in`` is the engine.

    ``done`` is told of each step, ``user`` says whose edit a case is in a part of the run.
    """

    base: str
    stand_in: StandIn
    work: Work
    done: Callable[[], None] = lambda: None
    user: Callable[[str, Case], str] = user_of

    async def model(self) -> str:
        """The served model's name."""
        async with self.client("nobody") as client:
            return client.model

    async def play(self, mode: Mode, cases: Sequence[Case]) -> None:
        """Play what is not done yet: all edits, each followed by its later requests, or all of these at the end."""
        for case in cases:
            await self.learn(mode, case)
            if mode == "own":
                await self._ask(mode, case)
        for case in cases if mode == "one" else ():
            await self._ask(mode, case)

    async def learn(self, mode: str, case: Case) -> None:
        """Send the case's edit in this part of the run, unless that is done, and wait until it was learned from."""
        if self.work.get("edit", mode, case.id) is None:
            async with self.client(self.user(mode, case)) as client:
                try:
                    lesson = await self._lesson(client, mode, case)
                except BadRequestError as error:
                    lesson = {"status": "refused", "reason": str(error.message), "learned": []}
                self.work.add("edit", mode, case.id, **lesson)
        self.done()

    async def _lesson(self, client: Client, mode: str, case: Case) -> dict[str, Any]:
        """What came of the case's edit; its seconds and tokens, unless it was sent by an earlier run."""
        spent, began = None, 0.0
        sent = self.work.get("sent", mode, case.id)
        fresh = sent is None
        if sent is None:
            # Whoever was killed may have sent it, and not written that down.
            await client.forget_since({one["feedback"] for one in self.work.of("sent", mode)})
            seed = self.stand_in.draft(case.draft, case.finish_reason)
            answer = await client.chat(messages(case.request), seed=seed)
            if (told := answer.choices[0].message.content) != case.draft:
                raise NotDrafted(f"{case.id}: the server answered {told!r} in place of the draft.")
            spent = await client.learning_tokens(_TENANT)
            began = time.monotonic()
            feedback = await client.send_edit(answer.id, case.edited)
            shown = _named(answer.attune["preferences"])
            sent = self.work.add("sent", mode, case.id, feedback=feedback, shown=shown)
        held = await client.learned(sent["feedback"], _SECONDS)
        texts = {preference["id"]: preference["text"] for preference in await client.preferences()}
        return {
            "status": held["status"],
            "reason": held["reason"],
            "learned": [{"id": id, "text": texts[id]} for id in held["learned"] if id in texts],
            "candidates": held.get("candidates") or [],
            "shown": sent["shown"],
            "seconds": round(time.monotonic() - began, 2) if fresh else None,
            "tokens": since(spent, await client.learning_tokens(_TENANT)) if fresh else None,
        }

    async def _ask(self, mode: Mode, case: Case) -> None:
        """Where anything was learned, ask the later requests, and see what comes with them."""
        if self.work.get("asked", mode, case.id) is None:
            lesson = self.work.get("edit", mode, case.id)
            asked: dict[str, Any] = {"same": None, "other": None, "successors": {}}
            if lesson is not None and lesson["learned"]:
                async with self.client(self.user(mode, case)) as client:
                    asked["same"] = await _recalled(client, case.same)
                    asked["other"] = await _recalled(client, case.other)
                    by_id = {held["id"]: held["superseded_by"] for held in await client.preferences()}
                    asked["successors"] = {told["id"]: _last(told["id"], by_id) for told in lesson["learned"]}
            self.work.add("asked", mode, case.id, **asked)
        self.done()

    def client(self, user: str) -> Client:
        """A user's app."""
        return Client(self.base, user)


async def _recalled(client: Client, request: Request) -> list[dict[str, str]] | None:
    """The preferences that come with a request; None for an empty one."""
    if not (asked := messages(request)):
        return None
    answer = await client.chat(asked, max_tokens=1, store=False)
    return _named(answer.attune["preferences"])


def _named(preferences: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"id": preference["id"], "text": preference["text"]} for preference in preferences]


def _last(id: str, successors: dict[str, str | None]) -> str:
    """The preference that stands in the place of ``id`` now."""
    for _ in successors:
        following = successors.get(id)
        if following is None:
            return id
        id = following
    return id
