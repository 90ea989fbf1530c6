"""How much an API key may ask for, a minute and at a time; how much a tenant and the server may at a time."""

import math
from collections import Counter
from functools import lru_cache

from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from preference.keys import Key
from server.errors import Overloaded, TooManyRequests


class Limits:
    """Counts in this process's memory; a key's own limits go before these defaults.

    Rates follow the generic cell rate algorithm: ``requests_per_minute`` at once, and one more with every
    60 / ``requests_per_minute`` seconds; 0 is no limit. The rates of ``remembered`` keys are known at most: one
    more, and the key that was not seen for longest starts anew.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int,
        in_flight: int,
        total: int,
        of_tenant: int | None = None,
        remembered: int = 100_000,
    ) -> None:
        self._requests_per_minute = requests_per_minute
        self._in_flight = in_flight
        self._total = total
        self._at_most_of_tenant = total if of_tenant is None else of_tenant
        self._under_way = 0
        self._of_key: Counter[str] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._store = MemoryStore(options={"MAX_SIZE": remembered})
        self._rate = lru_cache(maxsize=1024)(self._new_rate)

    def arrive(self) -> None:
        """A request of whoever it is; ``depart`` follows. Raises ``Overloaded``."""
        if self._under_way >= self._total:
            raise Overloaded("The server is at its limit; try again shortly.")
        self._under_way += 1

    def depart(self) -> None:
        """It is answered."""
        self._under_way -= 1

    def enter(self, key: Key) -> dict[str, str]:
        """It turned out to be of ``key``; ``leave`` follows. Gives the headers to answer with.

        Raises ``TooManyRequests``; a request refused is not counted.
        """
        at_once = self._in_flight if key.in_flight is None else key.in_flight
        if self._of_key[key.id] >= at_once:
            raise TooManyRequests(f"This API key may have {at_once} requests at a time; try again shortly.")
        if self._of_tenant[key.tenant] >= self._at_most_of_tenant:
            most = self._at_most_of_tenant
            raise TooManyRequests(f"The keys of a tenant may have {most} requests at a time; try again shortly.")
        headers = self._spend(key)
        self._of_key[key.id] += 1
        self._of_tenant[key.tenant] += 1
        return headers

    def leave(self, key: Key) -> None:
        """It is answered."""
        for counter, whose in ((self._of_key, key.id), (self._of_tenant, key.tenant)):
            counter[whose] -= 1
            if not counter[whose]:
                del counter[whose]

    def _spend(self, key: Key) -> dict[str, str]:
        limit = self._requests_per_minute if key.requests_per_minute is None else key.requests_per_minute
        if not limit:
            return {}
        result = self._rate(limit).limit(key.id)
        state = result.state
        headers = {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": "0" if result.limited else str(state.remaining),
            "x-ratelimit-reset-requests": f"{round(state.reset_after, 3):g}s",
        }
        if result.limited:
            seconds = max(1, math.ceil(state.retry_after))
            message = f"This API key may make {limit} requests a minute; try again in {seconds} s."
            raise TooManyRequests(message, retry_after=seconds, headers=headers)
        return headers

    def _new_rate(self, limit: int) -> Throttled:
        return Throttled(using=RateLimiterType.GCRA.value, quota=per_min(limit), store=self._store)


class Rate:
    """How often a key may do one thing a minute, beside what ``Limits`` say of all its requests; 0 is no limit."""

    def __init__(self, per_minute: int, what: str, *, remembered: int = 100_000) -> None:
        self._per_minute = per_minute
        self._what = what
        store = MemoryStore(options={"MAX_SIZE": remembered})
        self._rate = Throttled(using=RateLimiterType.GCRA.value, quota=per_min(max(1, per_minute)), store=store)

    def spend(self, key_id: str) -> None:
        """Once more. Raises ``TooManyRequests``; what is refused is not counted."""
        if not self._per_minute:
            return
        result = self._rate.limit(key_id)
        if result.limited:
            seconds = max(1, math.ceil(result.state.retry_after))
            message = f"This API key may send {self._per_minute} {self._what} a minute; try again in {seconds} s."
            raise TooManyRequests(message, retry_after=seconds)
