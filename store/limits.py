"""What keys and users may ask for, and rows of ``limits``: what they spend, for all servers of one database.

The arithmetic is one and the same where a server counts by itself (``State`` in its memory) and where all servers count
together (a row is a ``State``, held while it is changed). Rates follow the generic cell rate algorithm. What an answer
may take at most is spent before it is asked for, and what it did not take is given back: nobody overspends, and a
server that is killed has spent too much, not too little.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, and_, delete, select, update

from store.database import clock
from store.owner import Owner
from store.rows import insert_into, sha256, storable
from store.tables import limits

DAY = 86_400
LEASE = 60.0
"""Seconds for which a server's answers under way count after it was last heard of."""
KEPT = 2.0 * DAY
"""Seconds after which a row that nobody used may go: nothing of it holds any more."""
_MINUTE = 60.0

What = Literal["requests_per_minute", "tokens_per_minute", "tokens_per_day", "in_flight"]


@dataclass(frozen=True)
class Limit:
    """What one key, or one user, may; 0 is no limit. Days are of UTC."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0
    in_flight: int = 0

    @property
    def of_tokens(self) -> bool:
        """Whether it matters how long an answer may be."""
        return bool(self.tokens_per_minute or self.tokens_per_day)

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return self != Limit()


@dataclass(frozen=True)
class Demand:
    """What a request asks of a limit of its tenant; ``subject`` says whose limit it is."""

    tenant: str
    subject: str
    limit: Limit
    requests: int = 0
    tokens: int = 0
    in_flight: int = 0


class Exceeded(Exception):
    """A demand is over its limit: nothing was spent. ``seconds`` is when it may be let in; None: never, as it is."""

    def __init__(self, demand: Demand, what: What, left: int, seconds: float | None) -> None:
        super().__init__(f"{demand.subject} is at its limit of {what}")
        self.demand = demand
        self.what = what
        self.left = left
        self.seconds = seconds


class Standing(NamedTuple):
    """How a rate stands: what is left of it, and the seconds until all of it is again."""

    left: int
    reset: float


@dataclass(frozen=True)
class State:
    """What was spent of one limit. Of a rate it is when the next one would come, had all come evenly."""

    requests_at: float = 0.0
    tokens_at: float = 0.0
    day: int = 0
    tokens: int = 0
    under_way: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Of each server how many requests are under way, and until when that holds."""

    def take(self, demand: Demand, now: float, holder: str, lease: float = LEASE) -> "State":
        """Once ``demand`` is let in. Raises ``Exceeded``."""
        limit, day = demand.limit, int(now // DAY)
        under_way = {who: held for who, held in self.under_way.items() if held[1] > now and held[0] > 0}
        busy = int(sum(count for count, _ in under_way.values()))
        if demand.in_flight and limit.in_flight and busy + demand.in_flight > limit.in_flight:
            raise Exceeded(demand, "in_flight", max(0, limit.in_flight - busy), 1.0)
        requests_at = _rate(self.requests_at, limit.requests_per_minute, demand.requests, now)
        if (wait := requests_at - now - _MINUTE) > _NOTHING:
            left, most = self.requests(limit, now).left, limit.requests_per_minute
            raise Exceeded(demand, "requests_per_minute", left, None if demand.requests > most else wait)
        tokens_at = _rate(self.tokens_at, limit.tokens_per_minute, demand.tokens, now)
        if (wait := tokens_at - now - _MINUTE) > _NOTHING:
            left, most = _standing(self.tokens_at, limit.tokens_per_minute, now).left, limit.tokens_per_minute
            raise Exceeded(demand, "tokens_per_minute", left, None if demand.tokens > most else wait)
        spent = self.tokens if self.day == day else 0
        if demand.tokens and limit.tokens_per_day and spent + demand.tokens > limit.tokens_per_day:
            left, most = max(0, limit.tokens_per_day - spent), limit.tokens_per_day
            wait = (day + 1) * DAY - now
            raise Exceeded(demand, "tokens_per_day", left, None if demand.tokens > most else wait)
        if demand.in_flight:
            under_way[holder] = (under_way.get(holder, (0, 0.0))[0] + demand.in_flight, now + lease)
        return State(requests_at, tokens_at, day, spent + demand.tokens, under_way)

    def give(self, debt: "Debt", now: float, holder: str) -> "State":
        """Once it is known what a demand really took; less than nothing is given back."""
        tokens_at = self.tokens_at
        if rate := debt.limit.tokens_per_minute:
            tokens_at = max(tokens_at, now) if debt.tokens > 0 else tokens_at
            tokens_at += debt.tokens * _MINUTE / rate
        day, tokens = self.day, self.tokens
        if debt.day > day:
            day, tokens = debt.day, 0
        if debt.day == day:
            tokens = max(0, tokens + debt.tokens)
        under_way = dict(self.under_way)
        if debt.in_flight and holder in under_way:
            count, until = under_way.pop(holder)
            if count > debt.in_flight:
                under_way[holder] = (count - debt.in_flight, until)
        return State(self.requests_at, tokens_at, day, tokens, under_way)

    def requests(self, limit: Limit, now: float) -> Standing:
        """How the rate of requests stands."""
        return _standing(self.requests_at, limit.requests_per_minute, now)


@dataclass(frozen=True)
class Debt:
    """What is to be added to what was spent on a day, or taken from it; and how many places are free again."""

    limit: Limit
    day: int
    tokens: int
    in_flight: int = 0

    def __add__(self, other: "Debt") -> "Debt":
        """Both; tokens of another day than the later one are forgotten with it."""
        later = max(self.day, other.day)
        tokens = sum(one.tokens for one in (self, other) if one.day == later)
        return Debt(other.limit, later, tokens, self.in_flight + other.in_flight)


class Taken(NamedTuple):
    """When demands were let in, by the store's clock, and the states since."""

    now: float
    states: list[State]


def of_key(id: str) -> str:
    """The subject of an API key."""
    return f"key:{id}"


def of_user(user: str) -> str:
    """The subject of a user, whose name is not in it."""
    return f"user:{sha256(user)}"


def of_tokens(user: str) -> str:
    """The subject of all tokens of a user."""
    return f"token:{sha256(user)}"


def take(c: Connection, demands: Sequence[Demand], holder: str) -> Taken:
    """Let all demands of a request in, or none: raises ``Exceeded``. They are of one tenant."""
    held = _hold(c, demands[0].tenant, {demand.subject for demand in demands})
    now, states = _now(c), []
    for demand in demands:
        held[demand.subject] = held[demand.subject].take(demand, now, holder)
        states.append(held[demand.subject])
    _write(c, demands[0].tenant, held, now)
    return Taken(now, states)


def give(c: Connection, tenant: str, debts: Mapping[str, Debt], holder: str) -> None:
    """Settle, by subject. Where a row is gone its user was erased, or the store began anew: then nothing is owed back.

    What is still to be spent is spent in a new row.
    """
    spends = {subject for subject, debt in debts.items() if debt.tokens > 0}
    held = _hold(c, tenant, spends, others=debts.keys() - spends)
    now = _now(c)
    _write(c, tenant, {subject: held[subject].give(debts[subject], now, holder) for subject in held}, now)


def renew(c: Connection, tenant: str, subjects: Collection[str], holder: str) -> None:
    """Say that a server lives, and so what it has under way counts on."""
    held = _hold(c, tenant, (), others=subjects)
    now = _now(c)
    for subject, state in held.items():
        if holder in state.under_way:
            count, _ = state.under_way[holder]
            held[subject] = replace(state, under_way={**state.under_way, holder: (count, now + LEASE)})
    _write(c, tenant, held, now)


def spent_today(c: Connection, tenant: str, subject: str) -> int:
    """Tokens that count against today's budget, those of answers under way included."""
    query = select(limits.c.day, limits.c.tokens).where(limits.c.tenant_id == tenant, limits.c.subject == subject)
    row = c.execute(query).first()
    return row.tokens if row is not None and row.day == int(_now(c) // DAY) else 0


def forget(c: Connection, owner: Owner) -> None:
    """Drop what a user spent."""
    subjects = (of_user(owner.user), of_tokens(owner.user))
    c.execute(delete(limits).where(limits.c.tenant_id == owner.tenant, limits.c.subject.in_(subjects)))


def drop(c: Connection, demand: Demand) -> None:
    """Drop one row."""
    this = and_(limits.c.tenant_id == demand.tenant, limits.c.subject == demand.subject)
    c.execute(delete(limits).where(this))


def prune(c: Connection) -> None:
    """Drop what nobody used for ``KEPT``."""
    c.execute(delete(limits).where(limits.c.updated_at < _now(c) - KEPT))


_NOTHING = 1e-6  # seconds; a float of today's Unix time resolves a quarter of it


def _rate(at: float, per_minute: int, cost: int, now: float) -> float:
    """When the next one would come evenly, after ``cost`` more; a clock that was set back holds nobody up."""
    if not per_minute or not cost:
        return min(at, now + _MINUTE)
    return min(max(at, now), now + _MINUTE) + cost * _MINUTE / per_minute


def _standing(at: float, per_minute: int, now: float) -> Standing:
    reset = min(max(0.0, at - now), _MINUTE)
    return Standing(int((_MINUTE - reset + _NOTHING) * per_minute / _MINUTE), reset)


def _hold(c: Connection, tenant: str, subjects: Iterable[str], others: Collection[str] = ()) -> dict[str, State]:
    """The rows of ``subjects``, made where they are missing, and those there are of ``others``; held till the end."""
    needed = sorted(subjects)
    for subject in needed:
        storable(subject, "subject")
    if needed:
        made = insert_into(c, limits).on_conflict_do_nothing()
        row = {"tenant_id": tenant, "requests_at": 0.0, "tokens_at": 0.0, "day": 0, "tokens": 0, "under_way": {}}
        found = set(c.execute(_of(select(limits.c.subject), tenant, needed)).scalars())
        for subject in needed:
            if subject not in found:
                c.execute(made, {**row, "subject": subject, "updated_at": _now(c)})
    names = sorted({*needed, *others})
    held = c.execute(_of(select(limits), tenant, names).order_by(limits.c.subject).with_for_update())
    return {row.subject: State(row.requests_at, row.tokens_at, row.day, row.tokens, row.under_way) for row in held}


def _of(query: Any, tenant: str, subjects: Sequence[str]) -> Any:
    return query.where(limits.c.tenant_id == tenant, limits.c.subject.in_(subjects))


def _write(c: Connection, tenant: str, held: Mapping[str, State], now: float) -> None:
    for subject, state in held.items():
        this = and_(limits.c.tenant_id == tenant, limits.c.subject == subject)
        under_way = {who: list(one) for who, one in state.under_way.items()}
        c.execute(update(limits).where(this).values(**{**vars(state), "under_way": under_way, "updated_at": now}))


def _now(c: Connection) -> float:
    """The store's clock: servers' own may differ by minutes."""
    return time.time() if c.dialect.name == "sqlite" else clock(c)
