"""How much API keys and users may ask for: counted in this process and, where that is set, by all servers together.

What is counted together is counted here as well. Where the common count does not answer, this one holds alone, and what
was spent meanwhile is added there when it does.
"""

import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache

from server.admission.common_count import PATIENCE, Away, CommonCount
from server.admission.identity import UserKey
from server.errors import Overloaded, TooManyRequests
from store import limits
from store.database import Database
from store.keys import Key
from store.limits import DAY, Debt, Demand, Exceeded, Limit, State

_REMEMBERED = 100_000
_WORDS = {
    "requests_per_minute": "{limit} requests a minute",
    "tokens_per_minute": "{limit} tokens a minute",
    "tokens_per_day": "{limit} tokens a day (UTC)",
    "in_flight": "{limit} requests at a time",
}


@dataclass
class Pass:
    """What let a request in. ``settle`` gives its places back, and what it did not spend."""

    demands: Sequence[Demand]
    day: int = 0
    common: Sequence[Demand] = ()
    """Those of ``demands`` that are counted together with other servers."""
    owed: bool = False
    """Whether they could not be: then what is spent is added later."""
    headers: dict[str, str] = field(default_factory=dict)
    at_most: int = 0
    """Tokens that were set aside."""
    spent: int = 0
    """Tokens that it really took, as far as that is known."""
    settled: bool = False


class Limits:
    """One for the whole server, in one event loop. ``of_key`` and ``of_user`` hold where a key has none of its own.

    The rates of ``remembered`` keys and users are known here at most: one more, and whoever was not seen for longest
    starts anew.
    """

    def __init__(
        self,
        *,
        of_key: Limit,
        of_user: Limit = Limit(),  # noqa: B008 - it cannot change
        total: int,
        of_tenant: int | None = None,
        remembered: int = _REMEMBERED,
        database: Database | None = None,
        shared: bool = False,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.time,
        on_refused: Callable[[str, str], None] = lambda what, whose: None,
    ) -> None:
        """``database`` holds the common count: of budgets by the day always, of all limits where they are ``shared``.

        ``patience``: seconds that a request waits for it. ``on_refused`` is told which limit
        was met, and whose it is.
        """
        self._of_key = of_key
        self.of_user = of_user
        self._total = total
        self._at_most_of_tenant = total if of_tenant is None else of_tenant
        self._under_way = 0
        self._of_tenant: Counter[str] = Counter()
        self._states: LRUCache[tuple[str, str], State] = LRUCache(remembered)
        self._shared = shared
        self._common = None if database is None else CommonCount(database, uuid.uuid4().hex[:12], patience)
        self._clock = clock
        self._on_refused = on_refused

    @property
    def common_up(self) -> bool:
        """False while the common count does not answer."""
        return self._common is None or self._common.up

    def arrive(self) -> None:
        """A request of whoever it is; ``depart`` follows. Raises ``Overloaded``."""
        if self._under_way >= self._total:
            self._on_refused("in_flight", "server")
            raise Overloaded("The server is at its limit; try again shortly.")
        self._under_way += 1

    def depart(self) -> None:
        """It is answered."""
        self._under_way -= 1

    async def enter(self, key: Key) -> Pass:
        """It turned out to be of ``key``; ``leave`` follows. Gives the headers to answer with.

        Raises ``TooManyRequests``; a request refused is not counted.
        """
        if self._of_tenant[key.tenant] >= self._at_most_of_tenant:
            most = self._at_most_of_tenant
            self._on_refused("in_flight", "tenant")
            raise TooManyRequests(f"The keys of a tenant may have {most} requests at a time; try again shortly.")
        limit = self.of_key(key)
        self._of_tenant[key.tenant] += 1
        try:
            entered = await self._take([Demand(key.tenant, _subject(key), limit, requests=1, in_flight=1)])
        except BaseException:
            self._leave_tenant(key.tenant)
            raise
        if limit.requests_per_minute:
            state = self._states.get((key.tenant, _subject(key)), State())
            standing = state.requests(limit, self._clock())
            entered.headers = _headers(limit.requests_per_minute, standing.left, standing.reset)
        return entered

    def leave(self, entered: Pass) -> None:
        """It is answered."""
        self._leave_tenant(entered.demands[0].tenant)
        self.settle(entered)

    def limits_tokens(self, key: Key) -> bool:
        """Whether it matters how long an answer may be."""
        return self.of_user.of_tokens or self.of_key(key).of_tokens

    async def set_aside(self, key: Key, user: str | None, tokens: int) -> Pass | None:
        """Before an answer of at most so many tokens, prompt and all; ``settle`` follows. Raises ``TooManyRequests``.

        None where nothing limits it.
        """
        demands = []
        if (limit := self.of_key(key)).of_tokens:
            subject = limits.of_key(key.made_by) if isinstance(key, UserKey) else _subject(key)
            demands.append(Demand(key.tenant, subject, limit, tokens=tokens))
        if user is not None and self.of_user.any:
            demand = Demand(key.tenant, limits.of_user(user), self.of_user, requests=1, tokens=tokens, in_flight=1)
            demands.append(demand)
        if not demands:
            return None
        made = await self._take(demands)
        made.at_most = tokens
        return made

    def settle(self, entered: Pass) -> None:
        """What it spent is known. May be called twice."""
        if entered.settled:
            return
        entered.settled = True
        self._settle_here(entered.demands, entered.day, entered.spent)
        if self._common is None:
            return
        for demand in entered.common:
            back = entered.spent if entered.owed else entered.spent - demand.tokens
            debt = Debt(
                demand.limit, entered.day, back if demand.tokens else 0, 0 if entered.owed else demand.in_flight
            )
            self._common.owe(demand, debt)

    def of_key(self, key: Key) -> Limit:
        """What a key may; a token of one user may what its maker's default is."""
        return Limit(
            requests_per_minute=_own(key.requests_per_minute, self._of_key.requests_per_minute),
            tokens_per_minute=_own(key.tokens_per_minute, self._of_key.tokens_per_minute),
            tokens_per_day=_own(key.tokens_per_day, self._of_key.tokens_per_day),
            in_flight=_own(key.in_flight, self._of_key.in_flight),
        )

    async def run(self) -> None:
        """Settle, and say that this server lives, until cancelled."""
        if self._common is not None:
            await self._common.run()

    async def close(self) -> None:
        """Settle what is owed."""
        if self._common is not None:
            await self._common.close()

    async def _take(self, demands: Sequence[Demand]) -> Pass:
        common: list[Demand] = []
        if self._common is not None:
            common = [one for one in demands if self._shared or (one.tokens > 0 and one.limit.tokens_per_day > 0)]
        entered = Pass(demands, common=common)
        try:
            entered.day = self._take_here(demands)
            if self._common is not None and common:
                try:
                    entered.day = int((await self._common.take(common)).now // DAY)
                except Away:
                    entered.owed = True
                except BaseException:
                    self._settle_here(demands, entered.day, 0)
                    raise
        except Exceeded as error:
            self._on_refused(error.what, "user" if error.demand.subject.startswith("user:") else "key")
            raise _refusal(error) from None
        return entered

    def _take_here(self, demands: Sequence[Demand]) -> int:
        now, taken = self._clock(), {}
        for demand in demands:
            at = (demand.tenant, demand.subject)
            taken[at] = self._states.get(at, State()).take(demand, now, "", math.inf)
        self._states.update(taken)
        return int(now // DAY)

    def _settle_here(self, demands: Sequence[Demand], day: int, spent: int) -> None:
        for demand in demands:
            at = (demand.tenant, demand.subject)
            if (state := self._states.get(at)) is not None:
                debt = Debt(demand.limit, day, spent - demand.tokens if demand.tokens else 0, demand.in_flight)
                self._states[at] = state.give(debt, self._clock(), "")

    def _leave_tenant(self, tenant: str) -> None:
        self._of_tenant[tenant] -= 1
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]


class Rate:
    """How often a key may do one thing a minute, beside what ``Limits`` say of all its requests; 0 is no limit."""

    def __init__(self, per_minute: int, what: str) -> None:
        self._limit = Limit(requests_per_minute=per_minute)
        self._what = what
        self._states: LRUCache[str, State] = LRUCache(_REMEMBERED)

    def spend(self, key_id: str) -> None:
        """Once more. Raises ``TooManyRequests``; what is refused is not counted."""
        demand = Demand("", key_id, self._limit, requests=1)
        try:
            self._states[key_id] = self._states.get(key_id, State()).take(demand, time.time(), "")
        except Exceeded as error:
            seconds = _seconds(error)
            message = (
                f"This API key may send {self._limit.requests_per_minute} {self._what} a minute; "
                f"try again in {seconds} s."
            )
            raise TooManyRequests(message, retry_after=seconds) from None


def _subject(key: Key) -> str:
    return limits.of_tokens(key.user) if isinstance(key, UserKey) else limits.of_key(key.id)


def _own(own: int | None, default: int) -> int:
    return default if own is None else own


def _headers(limit: int, left: int, reset: float, what: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(limit),
        f"x-ratelimit-remaining-{what}": str(left),
        f"x-ratelimit-reset-{what}": f"{round(reset, 3):g}s",
    }


def _seconds(error: Exceeded) -> int:
    return max(1, math.ceil(error.seconds or 0))


def _refusal(error: Exceeded) -> TooManyRequests:
    """What was met, and when to come back."""
    limit, seconds = int(getattr(error.demand.limit, error.what)), _seconds(error)
    who = "This user" if error.demand.subject.startswith("user:") else "This API key"
    may = f"{who} may have {_WORDS[error.what].format(limit=f'{limit:,}')}"
    if error.what == "in_flight":
        return TooManyRequests(f"{may}; try again shortly.")
    if error.what == "requests_per_minute":
        may = may.replace("may have", "may make")
        told = _headers(limit, 0, error.seconds or 0)
        return TooManyRequests(f"{may}; try again in {seconds} s.", retry_after=seconds, headers=told)
    if error.seconds is None:
        message = f"{may}, and this answer may take {error.demand.tokens:,}: ask for fewer with max_tokens."
        return TooManyRequests(message, headers=_headers(limit, error.left, 0, "tokens"))
    asked = f"{error.left:,} are left, and this answer may take {error.demand.tokens:,}"
    message = f"{may}: {asked}; ask for fewer with max_tokens, or try again in {seconds} s."
    return TooManyRequests(message, retry_after=seconds, headers=_headers(limit, error.left, error.seconds, "tokens"))
