"""What edits cost over time, of a user or of a tenant, as figures alone; no texts but those of preferences."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, select

from store.owner import Owner
from store.rows import scope
from store.tables import feedback, turns

MAX_EDITS = 20_000
"""The newest edits that a curve is drawn from."""


@dataclass(frozen=True)
class Round:
    """One edit: its ``cost`` in [0, 1], and the tokens of the answer that it is of."""

    created_at: float
    cost: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Point:
    """Neighbouring edits together: means, and the share that was left as it was."""

    since: float
    until: float
    edits: int
    cost: float
    unchanged: float
    prompt_tokens: float
    completion_tokens: float


def of_user(c: Connection, owner: Owner) -> list[Round]:
    """The user's edits, oldest first; what a later edit has replaced left out."""
    return _rounds(c, and_(scope(feedback, owner), scope(turns, owner)))


def of_tenant(c: Connection, tenant: str) -> list[Round]:
    """The edits of all users of a tenant, oldest first."""
    of_one = turns.c.user_id == feedback.c.user_id
    return _rounds(c, and_(feedback.c.tenant_id == tenant, turns.c.tenant_id == tenant, of_one))


def points(rounds: list[Round], most: int) -> list[Point]:
    """The rounds in order, in ``most`` groups at most that differ by one round in size."""
    count = min(most, len(rounds))
    found = []
    for number in range(count):
        group = rounds[number * len(rounds) // count : (number + 1) * len(rounds) // count]
        size = len(group)
        found.append(
            Point(
                since=group[0].created_at,
                until=group[-1].created_at,
                edits=size,
                cost=sum(one.cost for one in group) / size,
                unchanged=sum(one.cost == 0 for one in group) / size,
                prompt_tokens=sum(one.prompt_tokens for one in group) / size,
                completion_tokens=sum(one.completion_tokens for one in group) / size,
            )
        )
    return found


def _rounds(c: Connection, mine: ColumnElement[bool]) -> list[Round]:
    columns = (feedback.c.created_at, feedback.c.cost, turns.c.prompt_tokens, turns.c.completion_tokens)
    query = select(*columns).where(mine, turns.c.completion_id == feedback.c.completion_id)
    query = query.where(feedback.c.type == "edit", feedback.c.status != "replaced", feedback.c.cost.is_not(None))
    rows = c.execute(query.order_by(feedback.c.created_at.desc()).limit(MAX_EDITS)).all()
    return [Round(*row) for row in reversed(rows)]
