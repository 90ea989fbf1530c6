"""Rows of ``users``: standing values, the active adapter, whether learning is paused, the revision of caches."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update
from sqlalchemy import delete as delete_from
from sqlalchemy.exc import IntegrityError

from store import erasures
from store.errors import Conflict, Invalid, NotFound
from store.loop_connection import LoopConnection
from store.owner import Owner
from store.rows import between, key, scope, storable
from store.tables import users
from store.values import Value, check_values

MAX_STANDING_VALUES = 64
# Made once: each request reads its user, and making the statement takes longer than running it.
_ROW = (
    users.c.opaque_id, users.c.standing_values, users.c.active_adapter, users.c.revision, users.c.created_at,
    users.c.pinned, users.c.canary_adapter, users.c.canary_share, users.c.paused,
)  # fmt: skip
_BY_KEY = select(*_ROW).where(users.c.tenant_id == bindparam("tenant_id"), users.c.user_id == bindparam("user_id"))
_LOCKED = _BY_KEY.with_only_columns(users.c.opaque_id).with_for_update(key_share=True)


@dataclass(frozen=True)
class User:
    """An end user. ``opaque_id`` names the user's adapters in the engine; ``active_adapter`` 0 is none.

    A ``pinned`` one stays until it is unpinned. ``canary_adapter`` (0: none) answers ``canary_share``, in (0, 1], of
    the user's conversations instead. While ``paused``, what is known is applied and nothing is learned.

    Caches are keyed by (``opaque_id``, ``revision``): a user deleted and made anew gets another of both.
    """

    owner: Owner
    opaque_id: str
    standing_values: tuple[Value, ...]
    active_adapter: int
    revision: int
    created_at: float = 0.0
    pinned: bool = False
    canary_adapter: int = 0
    canary_share: float = 0.0
    paused: bool = False


def get(c: Connection | LoopConnection, owner: Owner) -> User | None:
    """The user, or None."""
    row = c.execute(_BY_KEY, key(owner)).first()
    return None if row is None else _user(owner, *row)


def named(c: Connection, opaque_id: str) -> User | None:
    """The user whose adapters carry ``opaque_id``, or None: erased, or of another database."""
    row = c.execute(select(users.c.tenant_id, users.c.user_id, *_ROW).where(users.c.opaque_id == opaque_id)).first()
    return None if row is None else _user(Owner(*row[:2]), *row[2:])


def page(c: Connection, *, after: Owner | None = None, limit: int = 100) -> list[Owner]:
    """The next users of all tenants after ``after``: for upkeep."""
    query = select(users.c.tenant_id, users.c.user_id).order_by(users.c.tenant_id, users.c.user_id).limit(limit)
    if after is not None:
        query = query.where(tuple_(users.c.tenant_id, users.c.user_id) > (after.tenant, after.user))
    return [Owner(tenant, user) for tenant, user in c.execute(query)]


def of_tenant(
    c: Connection,
    tenant: str,
    *,
    after: tuple[float, str] | None = None,
    limit: int = 20,
    since: float | None = None,
    until: float | None = None,
) -> list[User]:
    """A tenant's users, the newest first: those after the one made at ``after[0]`` whose name is ``after[1]``."""
    made = tuple_(users.c.created_at, users.c.user_id)
    query = select(users.c.user_id, *_ROW).where(users.c.tenant_id == tenant)
    query = between(query, users.c.created_at, since, until)
    if after is not None:
        query = query.where(made < after)
    rows = c.execute(query.order_by(users.c.created_at.desc(), users.c.user_id.desc()).limit(limit))
    return [_user(Owner(tenant, name), *rest) for name, *rest in rows]


def ensure(c: Connection, owner: Owner) -> User:
    """The user, made if missing. Raises ``Invalid`` naming ``user`` for an identifier that cannot be stored."""
    found = get(c, owner)
    if found is not None:
        return found
    values = {
        **key(owner),
        "opaque_id": secrets.token_hex(16),
        "standing_values": [],
        "active_adapter": 0,
        "revision": secrets.randbelow(2**30),  # never that of a deleted namesake
        "created_at": time.time(),
    }
    try:
        with c.begin_nested():
            c.execute(insert(users).values(values))
    except IntegrityError:  # another request made it first
        pass
    made = get(c, owner)
    if made is None:
        raise RuntimeError("the user was deleted while it was made")
    return made


def lock(c: Connection, owner: Owner) -> bool:
    """Hold back other writers of this owner until the transaction ends. Whether the user exists."""
    return c.execute(_LOCKED, key(owner)).first() is not None


def touch(c: Connection, owner: Owner) -> None:
    """Raise the revision, so that caches notice a change. Raises ``NotFound`` for an unknown user."""
    _change(c, owner)


def set_standing_values(c: Connection, owner: Owner, values: Sequence[Value]) -> None:
    """Replace the standing values. Raises ``Invalid`` naming the field, ``NotFound`` for an unknown user."""
    if len(values) > MAX_STANDING_VALUES:
        raise Invalid(f"at most {MAX_STANDING_VALUES} standing values are allowed", param="values")
    check_values(values, "values")
    dumped = [value.model_dump() for value in values]
    for index, fields in enumerate(dumped):
        for name, field in fields.items():
            if isinstance(field, str):
                storable(field, f"values[{index}].{name}")
    _change(c, owner, standing_values=dumped)


def set_active_adapter(
    c: Connection, owner: Owner, version: int, *, pinned: bool = False, canary: int = 0, share: float = 0.0
) -> None:
    """Point the user at the versions that serve, 0 is none. Raises ``NotFound`` for an unknown user."""
    _change(c, owner, active_adapter=version, pinned=pinned, canary_adapter=canary, canary_share=share)


def set_paused(c: Connection, owner: Owner, paused: bool) -> None:
    """Pause learning, or go on with it. Raises ``NotFound`` for an unknown user."""
    _change(c, owner, paused=paused)


def check_learning(c: Connection, owner: Owner) -> None:
    """Raise ``Conflict`` while the user has paused learning."""
    user = get(c, owner)
    if user is not None and user.paused:
        raise Conflict(
            'Learning is paused for this user, so nothing is taken in. PATCH /v1/users/{user} with {"paused": false} '
            "goes on with it.",
            param="user",
        )


def delete(c: Connection, owner: Owner) -> bool:
    """Erase the user and, by cascade, every row about it, and leave a tombstone. Whether there was one."""
    erased = c.execute(delete_from(users).where(scope(users, owner)).returning(users.c.opaque_id)).scalar()
    if erased is not None:
        erasures.record(c, erased)
    return erased is not None


def _change(c: Connection, owner: Owner, **values: Any) -> None:
    changed = c.execute(update(users).where(scope(users, owner)).values(revision=users.c.revision + 1, **values))
    if changed.rowcount == 0:
        raise NotFound("there is no such user", param="user")


def _user(owner: Owner, opaque_id: str, values: list[dict[str, str]], *rest: Any) -> User:
    return User(owner, opaque_id, tuple(map(Value.model_validate, values)), *rest)
