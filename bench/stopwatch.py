"""A stopwatch for what takes microseconds."""

import time
from collections.abc import Sequence

from bench.load import Figures, percentile


class Stopwatch:
    """Nanoseconds of what is done while it is held: by the wall's clock, and of this thread's processor time."""

    def __init__(self) -> None:
        self.wall: list[int] = []
        self.cpu: list[int] = []

    def __enter__(self) -> None:
        self._cpu = time.thread_time_ns()
        self._wall = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self.wall.append(time.perf_counter_ns() - self._wall)
        self.cpu.append(time.thread_time_ns() - self._cpu)


def microseconds(taken: Sequence[int]) -> Figures:
    """The median, the p99 and the most of ``taken`` nanoseconds; nothing of nothing."""
    if not taken:
        return {}
    found = {"p50_us": percentile(taken, 50), "p99_us": percentile(taken, 99), "max_us": max(taken)}
    return {name: round(value / 1000, 1) for name, value in found.items()}
