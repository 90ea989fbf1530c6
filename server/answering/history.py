"""Learning from clients that send chats alone: what their history says of earlier answers, after the answer is out.

Nothing of a request waits for it, and no model is asked. What is not looked at, as too many came or the process ended,
is in the history of the next request still.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import Connection

from adapters import intake
from preference.feedback.feedback import Feedback
from preference.learning import history
from preference.learning.history import Found, Stored
from preference.ports import Kinds
from store import users
from store.database import Database
from store.errors import AttuneError, NotFound
from store.owner import Owner
from store.turns import Turn
from store.users import User

log = logging.getLogger(__name__)

WAITING = 1000
"""Turns that wait to be looked at; more, and the oldest go."""
_DAY = 86_400.0

OnGiven = Callable[[Owner, Feedback], None]


class Histories:
    """Looks at the requests of stored turns, one after the other; ``on_given`` is told what came of them."""

    def __init__(self, database: Database, embedder: Kinds, *, days: float, min_edits: int, on_given: OnGiven) -> None:
        self._database = database
        self._embedder = embedder
        self._days = days
        self._min_edits = min_edits
        self._on_given = on_given
        self._waiting: deque[tuple[User, Stored]] = deque(maxlen=WAITING)
        self._came = asyncio.Event()

    def notice(self, user: User, turn: Turn) -> None:
        """A turn was stored. Call it in the event loop."""
        self._waiting.append((user, Stored.of(turn)))
        self._came.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                user, turn = self._waiting.popleft()
                try:
                    if await self._database.look_up(history.says_something, user.owner, turn):
                        await self.look_at(user, turn.completion_id)
                except NotFound:  # erased meanwhile
                    continue
                except AttuneError as error:
                    log.info("a history could not be looked at: %s", error.message)
                except Exception:
                    log.exception("a history could not be looked at")

    async def look_at(self, user: User, completion_id: str) -> list[Feedback]:
        """Learn from one turn's request; what was given. Raises ``NotFound``."""
        since = time.time() - self._days * _DAY
        found = await self._database.read(history.read, user.owner, completion_id, since=since)
        given = []
        for one in found:
            if not await asyncio.to_thread(self._says_it, one):
                continue
            try:
                accepted = await self._database.write(_give, user, one, self._min_edits)
            except AttuneError as error:  # replaced, erased, or said otherwise meanwhile
                log.debug("a history says nothing: %s", error.message)
                continue
            if accepted is not None:
                given.append(accepted)
                self._on_given(user.owner, accepted)
        return given

    def _says_it(self, one: Found) -> bool:
        """A remark is about the answer before it, and no request of its own; who remarks on it does not accept it."""
        if one.given.type == "comment":
            return self._goes_on(str((one.given.content or {})["comment"]))
        return not one.reply or not self._goes_on(one.reply)

    def _goes_on(self, text: str) -> bool:
        return self._embedder.goes_on(self._embedder.embed([text])[0])


def _give(c: Connection, user: User, one: Found, min_edits: int) -> Feedback | None:
    """The feedback, or None where the history has said so before, or the user is not the same any more."""
    held = users.get(c, user.owner)
    if held is None or held.opaque_id != user.opaque_id:
        return None
    began = time.time()
    accepted = intake.give(c, user.owner, one.given, key=one.key, body_sha256=one.key, min_edits=min_edits)
    return accepted if accepted.created_at >= began else None
