"""Preferences learned from each writer by a real server, used as an app uses it."""

from collections.abc import Sequence
from typing import Any

from lab.client import Client
from lab.edits.cases import Case
from lab.edits.play import Player
from lab.writers.data import Row, Split


async def learn(player: Player, split: Split) -> None:
    """Play what is not done yet: each writer is a user who edits the drafts in their order.

    Then the server says what it would serve them by. ``player`` has their ``user_of``.
    """
    for writer in split.writers:
        for row in split.learned:
            await player.learn(writer, _case(row, writer))
        await _look(player, writer, split.tested)


async def _look(player: Player, writer: str, tested: Sequence[Row]) -> None:
    work = player.work
    async with player.client(user_of(writer)) as client:
        if work.get("held", writer, "") is None:
            held = [one["text"] for one in await client.preferences() if not one.get("superseded_by")]
            work.add("held", writer, "", texts=held)
        for row in tested:
            if work.get("recalled", writer, row.id) is None:
                work.add("recalled", writer, row.id, texts=await _recalled(client, row))
            player.done()


def user_of(writer: str, case: Case | None = None) -> str:
    """The user who a writer is."""
    return f"writer-{writer}"


async def _recalled(client: Client, row: Row) -> list[str]:
    answer: Any = await client.answer(row.instruction, max_tokens=1, store=False, personalize="retrieval")
    return [preference["text"] for preference in answer.attune["preferences"]]


def _case(row: Row, writer: str) -> Case:
    return Case(id=row.id, request=row.instruction, draft=row.draft, edited=row.edited[writer], expect=())
