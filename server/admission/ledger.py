"""What was answered for whom, by day: gathered here, and written every few seconds.

A process that is killed loses the figures of these seconds. What limits go by is not here (``limits.py``).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from server.admission.identity import UserKey
from store import usage
from store.database import Database
from store.keys import Key
from store.owner import Owner
from store.usage import Spent
from store.users import User

log = logging.getLogger(__name__)

EVERY = 5.0
_MOST = 10_000
"""Users and keys of whom figures wait for a store that is away; those of more are not kept."""

Whose = TypeVar("Whose")


class Ledger:
    """One for the whole server, in one event loop."""

    def __init__(self, database: Database, on_tokens: Callable[[str, int, int], None]) -> None:
        """``on_tokens`` is told of each answer's, with its tenant."""
        self._database = database
        self._on_tokens = on_tokens
        self._of_keys: dict[tuple[str, str, int], Spent] = {}
        self._of_users: dict[tuple[Owner, str, int], Spent] = {}

    def add(self, key: Key, user: User | None, prompt: int, completion: int) -> None:
        """An answer, of so many tokens. A user who is not known yet is not noted."""
        spent, day = Spent(1, prompt, completion), usage.today()
        key_id = key.made_by if isinstance(key, UserKey) else key.id
        _add(self._of_keys, (key.tenant, key_id, day), spent)
        if user is not None:
            _add(self._of_users, (user.owner, user.opaque_id, day), spent)
        self._on_tokens(key.tenant, prompt, completion)

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.write()

    async def write(self) -> None:
        """Write what was gathered; where the store is away it waits."""
        keys, self._of_keys = self._of_keys, {}
        users, self._of_users = self._of_users, {}
        if not keys and not users:
            return
        try:
            await self._database.note(_write, keys, users)
        except Exception as error:
            log.warning("what was answered could not be counted yet: %s", error)
            for key, spent in keys.items():
                _add(self._of_keys, key, spent)
            for user, spent in users.items():
                _add(self._of_users, user, spent)


def _add(held: dict[Whose, Spent], whose: Whose, spent: Spent) -> None:
    if whose in held or len(held) < _MOST:
        held[whose] = held.get(whose, Spent()).plus(spent)


def _write(c: Connection, keys: dict[tuple[str, str, int], Spent], users: dict[tuple[Owner, str, int], Spent]) -> None:
    """In order, so that two servers never wait for each other."""
    for (tenant, key_id, day), spent in sorted(keys.items()):
        usage.add_to_key(c, tenant, key_id, day, spent)
    for (owner, opaque_id, day), spent in sorted(users.items(), key=lambda one: (one[0][1], one[0][2])):
        usage.add_to_user(c, owner, opaque_id, day, spent)
