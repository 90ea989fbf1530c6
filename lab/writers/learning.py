"""Preferences learned from each writer by a real server, used as an app uses it."""

from collections.abc import Callable, Sequence
from typing import Any

from lab.client import Client
from lab.edits.cases import Case
from lab.edits.play import Player
from lab.edits.stand_in import StandIn
from lab.work import Work
from lab.writers.data import Row, Split


class Learning:
    """Each writer is a user who edits the drafts in their order; then the server says what it would serve them by."""

    def __init__(self, base: str, stand_in: StandIn, work: Work, done: Callable[[], None]) -> None:
        self._player = Player(base, stand_in, work, done=done, user=user_of)
        self._work = work
        self._done = done

    async def learn(self, split: Split) -> None:
        """Play what is not done yet."""
        for writer in split.writers:
            for row in split.learned:
                await self._player.learn(writer, _case(row, writer))
            await self._look(writer, split.tested)

    async def _look(self, writer: str, tested: Sequence[Row]) -> None:
        async with self._player.client(user_of(writer)) as client:
            if self._work.get("held", writer, "") is None:
                held = [one["text"] for one in await client.preferences() if not one.get("superseded_by")]
                self._work.add("held", writer, "", texts=held)
            for row in tested:
                if self._work.get("recalled", writer, row.id) is None:
                    self._work.add("recalled", writer, row.id, texts=await _recalled(client, row))
                self._done()


def user_of(writer: str, case: Case | None = None) -> str:
    """The user who a writer is."""
    return f"writer-{writer}"


async def _recalled(client: Client, row: Row) -> list[str]:
    answer: Any = await client.answer(row.instruction, max_tokens=1, store=False, personalize="retrieval")
    return [preference["text"] for preference in answer.attune["preferences"]]


def _case(row: Row, writer: str) -> Case:
    return Case(id=row.id, request=row.instruction, draft=row.draft, edited=row.edited[writer], expect=())
