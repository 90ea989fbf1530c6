"""Jobs as people see them: by tenant, by state, for the export and for operators."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, tuple_

from store.owner import Owner
from store.rows import scope
from store.tables import jobs


@dataclass(frozen=True)
class Backlog:
    """How many jobs there are by kind and state, and when the oldest that waits was queued, by kind."""

    counts: dict[tuple[str, str], int]
    oldest: dict[str, float]


def backlog(c: Connection, limit: int) -> Backlog:
    """The jobs of all tenants that are not done, as figures alone; of each state the first ``limit`` are counted."""
    counts: dict[tuple[str, str], int] = {}
    oldest: dict[str, float] = {}
    for state in ("queued", "running", "failed"):
        some = select(jobs.c.kind, jobs.c.created_at).where(jobs.c.state == state)
        first = some.order_by(jobs.c.run_after).limit(limit).subquery()
        query = select(first.c.kind, func.count(), func.min(first.c.created_at)).group_by(first.c.kind)
        for kind, count, created_at in c.execute(query):
            counts[kind, state] = count
            if state == "queued":
                oldest[kind] = created_at
    return Backlog(counts, oldest)


@dataclass(frozen=True)
class ListedJob:
    """A job as its owner may see it: without its error, which speaks of the machine. What came of it says why."""

    id: str
    kind: str
    subject: str
    state: str
    attempt: int
    created_at: float


_LISTED = [jobs.c[name] for name in ListedJob.__dataclass_fields__]


def page(c: Connection, owner: Owner, *, after: float = 0.0, limit: int = 500) -> list[ListedJob]:
    """The next jobs created after ``after``, oldest first: for the export. No two times of a user are equal."""
    query = select(*_LISTED).where(scope(jobs, owner), jobs.c.created_at > after)
    return [ListedJob(*row) for row in c.execute(query.order_by(jobs.c.created_at).limit(limit))]


def of_tenant(
    c: Connection,
    tenant: str,
    *,
    after: tuple[float, str] | None = None,
    limit: int = 20,
    state: str | None = None,
) -> list[tuple[str, ListedJob]]:
    """A tenant's jobs with their users' names, the newest first, after a time and an id."""
    query = select(jobs.c.user_id, *_LISTED).where(jobs.c.tenant_id == tenant)
    if state is not None:
        query = query.where(jobs.c.state == state)
    if after is not None:
        query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < after)
    rows = c.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit))
    return [(user, ListedJob(*rest)) for user, *rest in rows]


def failures(c: Connection, limit: int) -> list[tuple[Owner, ListedJob, str]]:
    """The newest jobs of all tenants that failed for good, with their errors: for operators."""
    query = select(jobs.c.tenant_id, jobs.c.user_id, jobs.c.error, *_LISTED).where(jobs.c.state == "failed")
    rows = c.execute(query.order_by(jobs.c.run_after.desc()).limit(limit))
    return [(Owner(tenant, user), ListedJob(*rest), error or "") for tenant, user, error, *rest in rows]
