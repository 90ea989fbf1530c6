"""Rows of ``adapters``: a user's versions, from queued to deleted.

A number is never used twice for one user, not even after a deletion: the engine keys its prefix cache by name and path.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from adapters import dataset
from preference.feedback import edit_rows
from store import jobs, users
from store.errors import Conflict, Invalid, NotFound
from store.owner import Owner
from store.rows import key, later, scope
from store.tables import adapters
from store.tables import users as users_table
from store.users import User

State = Literal["queued", "training", "ready", "refused", "failed", "retired", "deleted"]
UNFINISHED: tuple[State, ...] = ("queued", "training")
IMPORTED = "imported"
"""The verdict in the report of a version that was made elsewhere."""
_ROW = [adapters.c[name] for name in ("version", "state", "mode", "learned_through", "report", "created_at",
                                      "updated_at", "activated_at")]  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One adapter version of one user. ``mode`` is ``adapter`` or ``retrieval+adapter``: how it is best served.

    ``activated_at`` is when it last became the active one, None where it never was.
    """

    version: int
    state: State
    mode: str
    learned_through: float
    report: dict[str, Any]
    created_at: float
    updated_at: float
    activated_at: float | None = None


class ServedVersions(NamedTuple):
    """The active version, None for the base model, and the canary that is tried beside it, if one is."""

    active: Version | None
    canary: Version | None


def get(c: Connection, owner: Owner, version: int) -> Version:
    """One version; raises ``NotFound``."""
    row = c.execute(select(*_ROW).where(_is(owner, version))).one_or_none()
    if row is None:
        raise NotFound(f"Adapter version {version} does not exist.", param="version")
    return Version(*row)


def all_of(c: Connection, owner: Owner) -> list[Version]:
    """Every version, oldest first, the deleted ones included."""
    rows = c.execute(select(*_ROW).where(scope(adapters, owner)).order_by(adapters.c.version))
    return [Version(*row) for row in rows]


def active(c: Connection, owner: Owner) -> Version | None:
    """The version that the rows say serves this user now, or None for the base model."""
    return served(c, owner).active


def served(c: Connection, owner: Owner) -> ServedVersions:
    """What serves this user."""
    user = users.get(c, owner)
    numbers = (user.active_adapter, user.canary_adapter) if user else (0, 0)
    found = [get(c, owner, number) if number else None for number in numbers]
    first, second = (version if version and version.state == "ready" else None for version in found)
    return ServedVersions(first, second)


def census(c: Connection, limit: int) -> tuple[dict[str, int], int]:
    """How many versions there are by state, and how many that users are set to, over all tenants; ``limit`` of them."""
    some = select(adapters.c.tenant_id, adapters.c.user_id, adapters.c.version, adapters.c.state).limit(limit)
    held = some.subquery()
    states = c.execute(select(held.c.state, func.count()).group_by(held.c.state))
    of_user = and_(users_table.c.tenant_id == held.c.tenant_id, users_table.c.user_id == held.c.user_id)
    serving = and_(users_table.c.active_adapter == held.c.version, held.c.state == "ready")
    active = select(func.count()).select_from(held.join(users_table, of_user)).where(serving)
    return {state: count for state, count in states}, int(c.execute(active).scalar_one())


def learned_through(c: Connection, owner: Owner) -> float:
    """``created_at`` of the newest edit that a ready version learned from; 0.0 without one."""
    newest = select(func.max(adapters.c.learned_through)).where(scope(adapters, owner), adapters.c.state == "ready")
    return c.execute(newest).scalar() or 0.0


def next_number(c: Connection, owner: Owner) -> int:
    """The number of the next version; who takes it holds the owner's lock."""
    return (c.execute(select(func.max(adapters.c.version)).where(scope(adapters, owner))).scalar() or 0) + 1


def queue(c: Connection, owner: Owner) -> int:
    """A new version with its train job. Raises ``NotFound`` without the user, ``Conflict`` while one is under way.

    Its report says how many edits there are, and if they are too few; more may come before the training begins.
    """
    lock_user(c, owner)
    pending = next((v.version for v in all_of(c, owner) if v.state in UNFINISHED), None)
    if pending is not None:
        raise Conflict(f"Adapter version {pending} is already being made.", param="version")
    told = dataset.told(edit_rows.count_since(c, owner, 0.0))
    number = _insert(c, owner, state="queued", mode="adapter", report=told)
    jobs.enqueue(c, owner, "train", str(number))
    return number


def take_in(c: Connection, owner: Owner, learned_from: Collection[str], bytes: int = 0) -> int:
    """A new version that was made elsewhere, ready and not active. The caller holds the owner's lock.

    ``bytes`` are its files'.

    It is served beside what retrieval knows: nobody can say what it has learned of that.
    """
    report = {"verdict": IMPORTED, "sentence": "imported: no gate has measured it"}
    mode, ids = "retrieval+adapter", sorted(learned_from)
    return _insert(c, owner, state="ready", mode=mode, report=report, learned_from=ids, bytes=bytes)


def _insert(c: Connection, owner: Owner, **values: Any) -> int:
    number, now = next_number(c, owner), later(c, owner, adapters.c.created_at)
    times = {"learned_through": 0.0, "created_at": now, "updated_at": now}
    c.execute(insert(adapters).values(**key(owner), version=number, **times, **values))
    return number


def queue_if_due(c: Connection, owner: Owner, min_edits: int) -> int | None:
    """Queue a version when ``min_edits`` edits came since the newest one was queued, whatever became of that one.

    A deleted version counts: the edits it was made from do not bring it back. While the active version is pinned, or
    another one is tried beside it, edits wait.
    """
    user = users.get(c, owner)
    versions = [version for version in all_of(c, owner) if version.report.get("verdict") != IMPORTED]
    if user is None or user.pinned or user.canary_adapter or (versions and versions[-1].state in UNFINISHED):
        return None
    since = versions[-1].created_at if versions else 0.0
    return queue(c, owner) if edit_rows.count_since(c, owner, since) >= min_edits else None


def cancel(c: Connection, owner: Owner, version: int) -> bool:
    """Give up a version that is not made yet; whether somebody is at it. Raises ``NotFound``, ``Invalid``."""
    job = jobs.cancel(c, owner, "train", str(version))  # first: who publishes holds the job
    made = get(c, owner, version)
    if job is None or made.state not in (*UNFINISHED, "failed"):
        raise Invalid(f"Adapter version {version} is not being made any more: it is {made.state}.", param="version")
    report = {"verdict": "cancelled", "sentence": "failed: cancelled"}
    set_state(c, owner, version, "failed", report=ended(made, report))
    return job == "running"


def ended(made: Version, report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a version that is made: what was noted meanwhile, when it ended, and ``report``."""
    noted = {**made.report.get("training", {}), **report.get("training", {}), "finished_at": time.time()}
    return {**report, "training": noted}


def set_state(
    c: Connection,
    owner: Owner,
    version: int,
    state: State,
    *,
    mode: str | None = None,
    learned_through: float | None = None,
    learned_from: Collection[str] | None = None,
    report: Mapping[str, Any] | None = None,
    bytes: int | None = None,
) -> None:
    """Change a version; what is None stays. Raises ``NotFound``, also for a deleted one, and a retired one stays so."""
    ids, told = None if learned_from is None else sorted(learned_from), None if report is None else dict(report)
    more = {"mode": mode, "learned_through": learned_through, "learned_from": ids, "report": told, "bytes": bytes}
    changes = {name: value for name, value in more.items() if value is not None}
    gone = ("deleted",) if state == "deleted" else ("deleted", "retired")
    chosen = _is(owner, version) & adapters.c.state.not_in(gone)
    set_to = update(adapters).where(chosen).values(state=state, updated_at=time.time(), **changes)
    if c.execute(set_to).rowcount == 0:
        raise NotFound(f"Adapter version {version} does not exist.", param="version")


def delete(c: Connection, owner: Owner, version: int) -> User:
    """Mark a version deleted, and serve the base model if it was active. Remove its directory after the commit."""
    user = lock_user(c, owner)
    set_state(c, owner, version, "deleted", learned_from=(), report={})
    unset(c, user, version)
    return user


def unset(c: Connection, user: User, version: int) -> None:
    """Let a version serve the user no more, neither beside another one nor alone: then the base model does."""
    if user.active_adapter == version:
        users.set_active_adapter(c, user.owner, 0, canary=user.canary_adapter, share=user.canary_share)
    elif user.canary_adapter == version:
        users.set_active_adapter(c, user.owner, user.active_adapter)


def activated(c: Connection, owner: Owner, version: int, at: float | None) -> None:
    """Note when a version became the active one; None: never."""
    c.execute(update(adapters).where(_is(owner, version)).values(activated_at=at))


def learned_from(c: Connection, owner: Owner) -> dict[int, frozenset[str] | None]:
    """Of each ready version the ids of the feedback that its weights come from; None where nobody knows."""
    ready = select(adapters.c.version, adapters.c.learned_from)
    rows = c.execute(ready.where(scope(adapters, owner), adapters.c.state == "ready").order_by(adapters.c.version))
    return {version: None if ids is None else frozenset(ids) for version, ids in rows}


def ready(c: Connection, owner: Owner) -> set[int]:
    """The numbers of the versions that may serve."""
    return {v.version for v in all_of(c, owner) if v.state == "ready"}


def everybodys_ready(c: Connection) -> list[tuple[str, int]]:
    """Every version that may serve, by its user's opaque id: what files there are to be."""
    own = and_(adapters.c.tenant_id == users_table.c.tenant_id, adapters.c.user_id == users_table.c.user_id)
    query = select(users_table.c.opaque_id, adapters.c.version).join(adapters, own)
    rows = c.execute(query.where(adapters.c.state == "ready").order_by(users_table.c.opaque_id, adapters.c.version))
    return [(row.opaque_id, row.version) for row in rows]


def lock_user(c: Connection, owner: Owner) -> User:
    """The user, held against deletion and against a second version until commit; raises ``NotFound``."""
    user = users.get(c, owner) if users.lock(c, owner) else None
    if user is None:
        raise NotFound("there is no such user", param="user")
    return user


def _is(owner: Owner, version: int) -> ColumnElement[bool]:
    return scope(adapters, owner) & (adapters.c.version == version)
