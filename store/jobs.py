"""Rows of ``jobs``: leased work, queued in the transaction that needs it, one at a time for each user.

A lease has an end and a fence. Its holder renews it. When the holder dies, the lease runs out and the next worker takes
over with a higher fence; from then on nothing that the old holder writes about the job counts.
"""

import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from store import users
from store.errors import AttuneError, NotFound
from store.loop_connection import LoopConnection
from store.owner import Owner
from store.rows import key, later, scope
from store.tables import jobs
from store.tables import users as users_table

MAX_ERROR = 2000  # characters of an error kept on the row


class LostLease(AttuneError):
    """The lease ran out and somebody else took the job, or the job is gone with its user. Write nothing more."""

    code = "lost_lease"


@dataclass(frozen=True)
class Job:
    """A leased job. ``attempt`` counts from 1; ``deferrals`` are the times the engine was away, no attempts."""

    owner: Owner
    id: str
    kind: str
    subject: str
    attempt: int
    fence: int
    deferrals: int = 0


def enqueue(c: Connection, owner: Owner, kind: str, subject: str, run_after: float | None = None) -> str:
    """Queue a job, done only if the caller's transaction stands; gives its id. Raises ``NotFound`` without the user."""
    if not users.lock(c, owner):
        raise NotFound("there is no such user", param="user")
    values = {
        "id": f"job-{uuid.uuid4().hex}",
        "kind": kind,
        "subject": subject,
        "state": "queued",
        "run_after": time.time() if run_after is None else run_after,
        "lease_until": None,
        "fence": 0,
        "attempt": 0,
        "deferrals": 0,
        "error": None,
        "created_at": later(c, owner, jobs.c.created_at),
    }
    c.execute(insert(jobs).values(**key(owner), **values))
    return str(values["id"])


def under_way(c: Connection, owner: Owner, kind: str) -> set[str]:
    """The subjects of the owner's jobs of a kind that wait or run."""
    return set(c.execute(select(jobs.c.subject).where(_under_way(owner, kind))).scalars())


def hasten(c: Connection, owner: Owner, kind: str, subject: str) -> None:
    """Make a job that waits for a later time due now; without one, nothing."""
    waiting = and_(_under_way(owner, kind), jobs.c.subject == subject, jobs.c.state == "queued")
    c.execute(update(jobs).where(waiting, jobs.c.run_after > time.time()).values(run_after=time.time()))


def forget(c: Connection, owner: Owner, kind: str, subjects: Collection[str]) -> None:
    """Delete the jobs of a kind about ``subjects``; who holds one, has lost it."""
    about = and_(scope(jobs, owner), jobs.c.kind == kind, jobs.c.subject.in_(sorted(subjects)))
    c.execute(delete(jobs).where(about))


def cancel(c: Connection, owner: Owner, kind: str, subject: str) -> str | None:
    """End a job that waits or runs; who holds it, has lost it. The state it was in, None where there is no such job."""
    chosen = and_(_under_way(owner, kind), jobs.c.subject == subject)
    state = c.execute(select(jobs.c.state).where(chosen).with_for_update()).scalar()
    ended = {"state": "failed", "lease_until": None, "fence": jobs.c.fence + 1, "error": "cancelled"}
    c.execute(update(jobs).where(chosen).values(**ended))
    return state


def lease(c: Connection, kinds: Collection[str], seconds: float, after: str = "") -> Job | None:
    """The next job due, or None: queued, or left behind by a holder whose lease ran out.

    Tenants take turns in the order of their names: the next one after ``after`` that has a job due. A user has one
    running job at most, and jobs of one kind of a user go in order of creation: the first one, even while it waits
    for a retry, goes before the others.
    """
    now = time.time()
    left_behind = and_(jobs.c.state == "running", jobs.c.lease_until <= now)
    waiting = and_(jobs.c.state == "queued", jobs.c.run_after <= now)
    # One after the other, so that each is read along the index (state, tenant_id, run_after) and ends at its first hit.
    for due in (left_behind, and_(waiting, jobs.c.tenant_id > after), and_(waiting, jobs.c.tenant_id <= after)):
        job = _take(c, and_(due, _free(kinds, now)), seconds)
        if job is not None:
            return job
    return None


def due(kinds: Collection[str]) -> Select[tuple[str]]:
    """The statement that ``is_due`` asks, made once by whoever asks often."""
    now = bindparam("now", type_=jobs.c.run_after.type)
    left_behind = and_(jobs.c.state == "running", jobs.c.lease_until <= now)
    waiting = and_(jobs.c.state == "queued", jobs.c.run_after <= now)
    of_kind = or_(false(), *(jobs.c.kind == kind for kind in sorted(kinds)))
    return select(jobs.c.id).where(of_kind, or_(left_behind, waiting)).limit(1)


def is_due(c: Connection | LoopConnection, due: Select[tuple[str]]) -> bool:
    """Whether ``lease`` might find a job, which asks more and locks. A job that is due may still wait for another."""
    return c.execute(due, {"now": time.time()}).first() is not None


def hold(c: Connection, job: Job) -> None:
    """Call first in a transaction that writes a job's results: raises ``LostLease`` unless the lease is still ours."""
    held = select(jobs.c.id).where(_held(job)).with_for_update()
    if c.execute(held).first() is None:
        raise _lost(job)


def renew(c: Connection, job: Job, seconds: float) -> None:
    """Keep the lease for ``seconds`` from now. Raises ``LostLease``."""
    _write(c, job, lease_until=time.time() + seconds)


def finish(c: Connection, job: Job) -> None:
    """Mark the job done, again and again if need be. Raises ``LostLease``.

    A handler may call it in the transaction of its results, so that both stand or fall together.
    """
    _write(c, job, states=("running", "done"), state="done", lease_until=None, error=None)


def fail(c: Connection, job: Job, error: str, retry_in: float | None) -> None:
    """Queue the job again in ``retry_in`` seconds, or end it as failed; the error is kept. Raises ``LostLease``."""
    if retry_in is None:
        _write(c, job, state="failed", lease_until=None, error=kept(error))
    else:
        _write(c, job, state="queued", lease_until=None, error=kept(error), run_after=time.time() + retry_in)


def defer(c: Connection, job: Job, error: str, retry_in: float) -> None:
    """Queue the job again without counting the attempt: the engine was away. Raises ``LostLease``."""
    uncounted: dict[str, Any] = {"attempt": jobs.c.attempt - 1, "deferrals": jobs.c.deferrals + 1}
    due = time.time() + retry_in
    _write(c, job, state="queued", lease_until=None, error=kept(error), run_after=due, **uncounted)


def release(c: Connection, job: Job) -> None:
    """Give the job back as if it had not been taken: the worker stops. Raises ``LostLease``."""
    _write(c, job, state="queued", lease_until=None, attempt=jobs.c.attempt - 1)


def prune(c: Connection, before: float, limit: int) -> int:
    """Delete up to ``limit`` jobs of all tenants that ended, and were last due before that time; how many."""
    ended = and_(jobs.c.state.in_(("done", "failed")), jobs.c.run_after < before)
    found = c.execute(select(jobs.c.tenant_id, jobs.c.user_id, jobs.c.id).where(ended).limit(limit)).all()
    ids = [tuple(row) for row in found]
    c.execute(delete(jobs).where(tuple_(jobs.c.tenant_id, jobs.c.user_id, jobs.c.id).in_(ids), ended))
    return len(ids)


def _take(c: Connection, due: ColumnElement[bool], seconds: float) -> Job | None:
    same_user = and_(users_table.c.tenant_id == jobs.c.tenant_id, users_table.c.user_id == jobs.c.user_id)
    # Holding the user's row keeps two workers from leasing two jobs of one user (PostgreSQL; SQLite has one writer).
    # What holds under that lock is asked again by the UPDATE, whose snapshot is newer than the lock.
    candidates = (
        select(users_table.c.tenant_id, users_table.c.user_id, jobs.c.id)
        .join(users_table, same_user)
        .where(due)
        .order_by(jobs.c.tenant_id, jobs.c.run_after)
        .limit(1)
        .with_for_update(of=users_table, key_share=True, skip_locked=True)
    )
    while (candidate := c.execute(candidates).first()) is not None:
        owner = Owner(candidate.tenant_id, candidate.user_id)
        taken = (
            update(jobs)
            .where(scope(jobs, owner), jobs.c.id == candidate.id, due)
            .values(
                state="running",
                lease_until=time.time() + seconds,
                fence=jobs.c.fence + 1,
                attempt=jobs.c.attempt + 1,
            )
            .returning(jobs.c.kind, jobs.c.subject, jobs.c.attempt, jobs.c.fence, jobs.c.deferrals)
        )
        row = c.execute(taken).first()
        if row is not None:
            return Job(owner, candidate.id, row.kind, row.subject, row.attempt, row.fence, row.deferrals)
    return None


def _free(kinds: Collection[str], now: float) -> ColumnElement[bool]:
    other = jobs.alias("other")
    of_same_user = and_(other.c.tenant_id == jobs.c.tenant_id, other.c.user_id == jobs.c.user_id)
    running = exists().where(
        of_same_user, other.c.id != jobs.c.id, other.c.state == "running", other.c.lease_until > now
    )
    earlier = exists().where(
        of_same_user,
        other.c.kind == jobs.c.kind,
        other.c.state.in_(("queued", "running")),
        other.c.created_at < jobs.c.created_at,
    )
    return and_(jobs.c.kind.in_(sorted(kinds)), ~running, ~earlier)


def _under_way(owner: Owner, kind: str) -> ColumnElement[bool]:
    return and_(scope(jobs, owner), jobs.c.kind == kind, jobs.c.state.in_(("queued", "running")))


def _held(job: Job, states: Collection[str] = ("running",)) -> ColumnElement[bool]:
    mine = and_(scope(jobs, job.owner), jobs.c.id == job.id)
    return and_(mine, jobs.c.fence == job.fence, jobs.c.state.in_(states))


def _write(c: Connection, job: Job, states: Collection[str] = ("running",), **values: Any) -> None:
    if c.execute(update(jobs).where(_held(job, states)).values(**values)).rowcount == 0:
        raise _lost(job)


def _lost(job: Job) -> LostLease:
    return LostLease(f"the lease of job {job.id} is lost")


def kept(error: str) -> str:
    """``error`` as the stores can hold it, cut to ``MAX_ERROR`` characters."""
    return error.encode(errors="replace").decode().replace("\x00", "\ufffd")[:MAX_ERROR]
