"""Turns that this server did not answer: a demonstration's, with what would have been said, and an import's."""

import time
import uuid
from collections.abc import Sequence

from sqlalchemy import Connection

from store import turns, users
from store.message import Message
from store.owner import Owner
from store.turns import Turn

PREFIX = "demo-"
"""Their ids begin so; a turn that was asked for has the engine's id."""


def record(
    c: Connection, owner: Owner, messages: Sequence[Message], draft: str | None = None, id: str | None = None
) -> str:
    """Store a turn for ``messages``; its id, a new one of a demonstration without ``id``.

    Without a ``draft`` it is partial until a worker has made one.
    """
    users.ensure(c, owner)
    turn = Turn(
        completion_id=id or f"{PREFIX}{uuid.uuid4().hex}",
        created_at=time.time(),
        model="none",
        request=list(messages),
        prompt=list(messages),
        prompt_sha256="",
        answers=[draft or ""],
        applied_values=[],
        applied_preferences=[],
        adapter_version=0,
        personalized="none",
        prompt_tokens=0,
        completion_tokens=0,
        partial=draft is None,
    )
    turns.record(c, owner, turn)
    return turn.completion_id
