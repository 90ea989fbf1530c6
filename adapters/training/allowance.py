"""When a worker may train: within hours of the day, and for so many seconds of an hour."""

import re
import time
from collections import deque
from collections.abc import Callable

HOURS = r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$"
"""From and to, in UTC; past midnight where the second comes first."""
_HOUR, _DAY = 3600.0, 86_400.0


class Allowance:
    """When a training may begin. A training that has begun is finished, beyond the allowance if need be.

    ``hours`` are as ``HOURS`` says, None all day; ``seconds_per_hour`` counts any hour up to now, None without a limit.
    """

    def __init__(
        self,
        hours: str | None = None,
        seconds_per_hour: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if hours is not None and not re.match(HOURS, hours):
            raise ValueError(f"{hours!r} is not like 22:00-06:00")
        self._hours = None if hours is None else [_seconds(at) for at in hours.split("-")]
        self._limit = seconds_per_hour
        self._clock = clock
        self._runs: deque[tuple[float, float]] = deque()  # of the last hour

    def open(self) -> bool:
        """Whether a training may begin now."""
        now = self._clock()
        return self._within_hours(now % _DAY) and (self._limit is None or self._spent(now) < self._limit)

    def spend(self, seconds: float) -> None:
        """Note a training that ends now and took so long."""
        if self._limit is not None:
            now = self._clock()
            self._runs.append((now - seconds, now))

    def _within_hours(self, at: float) -> bool:
        if self._hours is None:
            return True
        begin, end = self._hours
        return begin <= at < end if begin < end else at >= begin or at < end

    def _spent(self, now: float) -> float:
        since = now - _HOUR
        while self._runs and self._runs[0][1] <= since:
            self._runs.popleft()
        return sum(end - max(begin, since) for begin, end in self._runs)


def _seconds(at: str) -> float:
    hour, minute = at.split(":")
    return int(hour) * 3600.0 + int(minute) * 60.0
