"""Rows of ``cohort_members``: who taught a cohort adapter, and whose versions began from one. Never across tenants."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, insert, select

from adapters.lifecycle import versions
from adapters.lifecycle.versions import UNFINISHED
from store import erasures, users
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.rows import key, scope
from store.tables import cohort_members as members

MAX_COHORTS = 1000
"""Of a tenant, that are looked at for a new user."""


@dataclass(frozen=True)
class Member:
    """A user's part in a cohort. ``version`` is the user's first that began from it; 0: its edits taught it."""

    cohort_id: str
    version: int
    created_at: float


def found(c: Connection, teachers: Sequence[Owner], cohort: str) -> None:
    """A cohort, before it learns anything. Raises ``NotFound`` where a teacher is gone."""
    for owner in sorted(teachers):
        if not users.lock(c, owner):
            raise NotFound("there is no such user", param="user")
        c.execute(insert(members).values(**key(owner), cohort_id=cohort, version=0, created_at=time.time()))


def follow(c: Connection, owner: Owner, cohort: str, version: int) -> bool:
    """Note that ``version``, and perhaps what comes after it, began from the cohort; False where that is gone."""
    versions.lock_user(c, owner)
    mine = and_(scope(members, owner), members.c.cohort_id == cohort)
    if c.execute(select(members.c.version).where(mine)).first() is not None:
        return True  # who ends the cohort now waits for us, and then finds what we make
    if not _hold(c, owner.tenant, cohort):
        return False
    c.execute(insert(members).values(**key(owner), cohort_id=cohort, version=version, created_at=time.time()))
    return True


def of(c: Connection, owner: Owner) -> list[Member]:
    """The cohorts that the owner taught or began from, oldest first."""
    rows = select(members.c.cohort_id, members.c.version, members.c.created_at).where(scope(members, owner))
    return [Member(*row) for row in c.execute(rows.order_by(members.c.created_at, members.c.cohort_id))]


def taught_by(c: Connection, owner: Owner) -> list[str]:
    """The cohorts that the owner taught."""
    return sorted(member.cohort_id for member in of(c, owner) if member.version == 0)


def of_tenant(c: Connection, tenant: str) -> dict[str, float]:
    """The tenant's cohorts, and when each was founded."""
    taught = and_(members.c.tenant_id == tenant, members.c.version == 0)
    query = select(members.c.cohort_id, members.c.created_at).where(taught).order_by(members.c.created_at)
    return {cohort: created_at for cohort, created_at in c.execute(query.limit(MAX_COHORTS))}


def dissolve(c: Connection, tenant: str, cohort: str) -> list[Owner]:
    """End a cohort: a tombstone for its files, and whoever began from it is trained anew from nothing; who that is.

    Their versions from that one on are deleted, those in the making given up: each may hold what it began with.
    """
    _hold(c, tenant, cohort)  # first: who begins from it just now is to be found
    of_it = and_(members.c.tenant_id == tenant, members.c.cohort_id == cohort)
    pupils = select(members.c.user_id, members.c.version).where(of_it, members.c.version > 0)
    followed = [(Owner(tenant, user), since) for user, since in c.execute(pupils.order_by(members.c.user_id))]
    if not c.execute(delete(members).where(of_it)).rowcount:
        return []  # it has ended
    erasures.record(c, cohort)
    for owner, since in followed:
        for made in versions.all_of(c, owner):
            if made.version >= since and made.state in UNFINISHED:
                with suppress(Invalid):  # its job was given up just now
                    versions.cancel(c, owner, made.version)
            elif made.version >= since and made.state == "ready":
                versions.delete(c, owner, made.version)
        with suppress(Conflict):
            versions.queue(c, owner)
    return [owner for owner, _ in followed]


def leave(c: Connection, owner: Owner) -> list[str]:
    """Dissolve what the owner taught, because some or all of their edits are erased; the cohorts."""
    taught = taught_by(c, owner)
    for cohort in taught:
        dissolve(c, owner.tenant, cohort)
    return taught


def _hold(c: Connection, tenant: str, cohort: str) -> bool:
    """Let nobody end the cohort, or begin from it, until commit; whether it is there."""
    taught = and_(members.c.tenant_id == tenant, members.c.cohort_id == cohort, members.c.version == 0)
    return bool(c.execute(select(members.c.user_id).where(taught).order_by(members.c.user_id).with_for_update()).all())
