"""What most users of a tenant prefer in a kind of request, tried with a user of whom nothing is known there.

For tenants that opted in alone. A preference counts that ``LEAST`` users or more learned, each from edits of their own,
and half of all that have written requests of the kind. What is taken over is its text: the context is the new user's
own request, and one edit that does not show it ends it. From then on it is theirs, as if they had begun with it.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sqlalchemy import Connection, select

from preference import context_rows, preferences
from preference.evidence import TENTATIVE
from preference.learning.meaning import first_same, meaning
from preference.ports import Kinds, Vectors
from preference.preferences import TAKEN_OVER
from preference.recall.kind import asked
from preference.recall.recall import Recall
from preference.recall.similarity import units
from store import users
from store.database import Database
from store.errors import Conflict
from store.message import Message
from store.owner import Owner
from store.tables import contexts as contexts_table
from store.tables import preferences as preferences_table
from store.users import User

LEAST = 3
"""Users who must prefer it: of fewer, one could be told."""
SHARE = 0.5
"""Of the users who wrote requests of the kind."""
MOST = 8
"""Preferences that are tried at once."""
CONTEXTS = 5_000
"""The newest ones of a tenant are looked at."""
FRESH_SECONDS = 60.0


@dataclass(frozen=True)
class Held:
    """That a user's edit spoke for a preference in a context of some kind."""

    user: str
    preference_id: str
    text: str
    vector: Vectors

    @cached_property
    def meaning(self) -> Hashable:
        """Equal for texts that say the same."""
        return meaning(self.text)


@dataclass(frozen=True)
class Shared:
    """A preference of many, by the ids of theirs."""

    text: str
    ids: Sequence[str]


def of_tenant(c: Connection, tenant: str, embedder: str) -> list[Held]:
    """What edits spoke for, of all users of a tenant, the newest contexts."""
    held, table = preferences_table, contexts_table
    query = (
        select(table.c.user_id, table.c.preference_id, held.c.text, table.c.vector)
        .where(table.c.tenant_id == tenant, held.c.tenant_id == tenant, held.c.user_id == table.c.user_id)
        .where(held.c.id == table.c.preference_id, held.c.status == "active", held.c.source == "learned")
        .where(table.c.embedder == embedder, table.c.weight > 0, table.c.feedback_id.is_not(None))
        .where(table.c.feedback_id.not_like(f"{TAKEN_OVER}%"))
        .order_by(table.c.created_at.desc())
        .limit(CONTEXTS)
    )
    return [Held(user, id, text, np.frombuffer(vector, "<f4")) for user, id, text, vector in c.execute(query)]


def holders(c: Connection, tenant: str, one: Shared) -> int:
    """How many users of a tenant still have it; 0 where its words, too, are nobody's any more."""
    table = preferences_table
    query = select(table.c.user_id, table.c.text).where(table.c.tenant_id == tenant)
    held = c.execute(query.where(table.c.id.in_(sorted(one.ids)), table.c.status == "active")).all()
    return len({row.user_id for row in held}) if any(row.text == one.text for row in held) else 0


def shared(held: Iterable[Held], user: str) -> list[Shared]:
    """What others than ``user`` share of these, which are of one kind, what most have first."""
    others = [one for one in held if one.user != user]
    alike: dict[Hashable, list[Held]] = {}
    for one in others:
        alike.setdefault(one.meaning, []).append(one)
    enough = max(LEAST, SHARE * len({one.user for one in others}))
    users_of = {key: len({one.user for one in same}) for key, same in alike.items()}
    found = sorted((key for key, count in users_of.items() if count >= enough), key=lambda key: -users_of[key])
    return [Shared(alike[key][0].text, [one.preference_id for one in alike[key]]) for key in found[:MOST]]


def take_over(
    c: Connection, owner: Owner, found: Sequence[Shared], *, text: str, embedder: str, vector: Vectors
) -> list[str]:
    """Try with a user, in the context ``text``, what others share, as far as they still do. The texts that are tried.

    Raises ``NotFound`` where the user was erased meanwhile.
    """
    users.touch(c, owner)
    known = {one.text: one.id for one in preferences.active(c, owner)}
    context = f"{TAKEN_OVER}{uuid.uuid4().hex}"
    tried = []
    for one in found:
        if holders(c, owner.tenant, one) < LEAST:
            continue
        same = first_same(one.text, known)
        try:
            id = known[same] if same else preferences.create(c, owner, one.text, "learned").id
        except Conflict:  # the user has as many as they may have
            break
        context_rows.add(
            c, owner, id, feedback_id=context, text=text, embedder=embedder, vector=vector, weight=TENTATIVE
        )
        known[one.text] = id
        tried.append(one.text)
    context_rows.bound(c, owner)
    return tried


@dataclass(frozen=True)
class _Pool:
    held: Sequence[Held]
    kinds: Vectors
    made_at: float

    def like(self, kind: Vectors, alike: float) -> list[Held]:
        return [self.held[row] for row in np.flatnonzero(self.kinds @ kind >= alike)]


class Prior:
    """Welcomes users to kinds of requests that are new to them."""

    def __init__(
        self,
        database: Database,
        embedder: Kinds,
        recall: Recall,
        tenants: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._recall = recall
        self._tenants = frozenset(tenants)
        self._clock = clock
        self._pools: dict[str, _Pool] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def welcome(self, user: User, request: Sequence[Message]) -> User:
        """Try with the user what others share in this kind of request, where the user has none of it; the user then.

        What others share is read in the background: no request waits for it.
        """
        tenant = user.owner.tenant
        if tenant not in self._tenants:
            return user
        pool = self._pool(tenant)
        kind = await self._recall.unknown(user, request) if pool and pool.held else None
        if pool is None or kind is None:
            return user
        found = shared(pool.like(kind, self._recall.limits.alike), user.owner.user)
        if not found:
            return user
        for text in asked(request):
            vector = (await asyncio.to_thread(self._embedder.embed, [text]))[0]
            if not self._embedder.goes_on(vector):
                break

        def write(c: Connection) -> User | None:
            if users.get(c, user.owner) is None:
                return None
            take_over(c, user.owner, found, text=text, embedder=self._embedder.name, vector=vector)
            return users.get(c, user.owner)

        return await self._database.write(write) or user

    async def settled(self) -> None:
        """Wait until what was asked for is read."""
        await asyncio.gather(*self._loading.values())

    def _pool(self, tenant: str) -> _Pool | None:
        pool = self._pools.get(tenant)
        if (pool is None or self._clock() - pool.made_at > FRESH_SECONDS) and tenant not in self._loading:
            task = asyncio.create_task(self._load(tenant))
            self._loading[tenant] = task
            task.add_done_callback(lambda _: self._loading.pop(tenant))
        return pool

    async def _load(self, tenant: str) -> None:
        held = await self._database.read(of_tenant, tenant, self._embedder.name)
        self._pools[tenant] = await asyncio.to_thread(self._pooled, held)

    def _pooled(self, held: Sequence[Held]) -> _Pool:
        for one in held:
            _ = one.meaning  # found here, and not while somebody waits
        vectors = np.array([one.vector for one in held], np.float32).reshape(-1, self._embedder.dimension)
        return _Pool(held, units(vectors[:, : self._embedder.kinds]), self._clock())
