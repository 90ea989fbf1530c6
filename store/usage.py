"""Rows of ``key_days`` and ``user_days``: requests answered, and their tokens, by day."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, delete, func, literal, select

from store.limits import DAY
from store.owner import Owner
from store.rows import insert_into, scope
from store.tables import key_days, user_days, users

_FIGURES = ("requests", "prompt_tokens", "completion_tokens")


class Spent(NamedTuple):
    """Requests that were answered, and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(*(one + two for one, two in zip(self, other, strict=True)))


class Day(NamedTuple):
    """What was spent on a day, which is a number of days since 1970, in UTC."""

    day: int
    spent: Spent


def today() -> int:
    """The number of this day."""
    return int(time.time() // DAY)


def add_to_key(c: Connection, tenant: str, key_id: str, day: int, spent: Spent) -> None:
    """Add to a key's day."""
    row = {"tenant_id": tenant, "key_id": key_id, "day": day, **spent._asdict()}
    c.execute(_adding(c, key_days).values(row))


def add_to_user(c: Connection, owner: Owner, opaque_id: str, day: int, spent: Spent) -> None:
    """Add to a user's day, unless that user was erased: then nothing is written."""
    own = select(users.c.tenant_id, users.c.user_id, literal(day), *(literal(one) for one in spent))
    # The row is held, so that it is not erased meanwhile.
    own = own.where(scope(users, owner), users.c.opaque_id == opaque_id).with_for_update(key_share=True)
    c.execute(_adding(c, user_days).from_select(["tenant_id", "user_id", "day", *_FIGURES], own))


def of_user(c: Connection, owner: Owner, since: int, until: int) -> list[Day]:
    """A user's days from ``since`` to ``until``, both included, oldest first."""
    query = select(user_days.c.day, *(user_days.c[name] for name in _FIGURES)).where(scope(user_days, owner))
    return _days(c, query.where(user_days.c.day.between(since, until)).order_by(user_days.c.day))


def of_keys(c: Connection, tenant: str, since: int, until: int, key_id: str | None = None) -> list[Day]:
    """The days of a tenant's key, or of all its keys together."""
    sums = (func.sum(key_days.c[name]) for name in _FIGURES)
    query = select(key_days.c.day, *sums).where(key_days.c.tenant_id == tenant)
    query = query if key_id is None else query.where(key_days.c.key_id == key_id)
    return _days(c, query.where(key_days.c.day.between(since, until)).group_by(key_days.c.day).order_by(key_days.c.day))


def prune(c: Connection, before: int) -> None:
    """Drop the days before."""
    for table in (key_days, user_days):
        c.execute(delete(table).where(table.c.day < before))


def _adding(c: Connection, table: Table) -> Any:
    """An insert that adds to the row that is there."""
    made = insert_into(c, table)
    figures: Mapping[str, Any] = {name: table.c[name] + made.excluded[name] for name in _FIGURES}
    return made.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=figures)


def _days(c: Connection, query: Select[Any]) -> list[Day]:
    return [Day(day, Spent(*(int(one) for one in figures))) for day, *figures in c.execute(query)]
