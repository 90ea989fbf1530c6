"""When trainings may begin."""

import pytest

from adapters.training.allowance import Allowance

MIDNIGHT = 20_000 * 86_400.0  # of some day, in UTC


class Clock:
    def __init__(self, now: float = MIDNIGHT) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_without_limits_it_is_always_open() -> None:
    allowance = Allowance()
    allowance.spend(10_000)
    assert allowance.open()


@pytest.mark.parametrize(
    ("hours", "open_at", "closed_at"),
    [
        ("22:00-06:00", [22 * 60, 23 * 60 + 59, 0, 5 * 60 + 59], [6 * 60, 12 * 60, 21 * 60 + 59]),
        ("09:30-17:00", [9 * 60 + 30, 12 * 60, 16 * 60 + 59], [0, 9 * 60 + 29, 17 * 60, 23 * 60]),
        ("03:00-03:00", [0, 2 * 60, 3 * 60, 12 * 60], []),
    ],
)
def test_hours_of_the_day(hours: str, open_at: list[int], closed_at: list[int]) -> None:
    clock = Clock()
    allowance = Allowance(hours, clock=clock)

    def open(minute: int) -> bool:
        clock.now = MIDNIGHT + 60 * minute
        return allowance.open()

    assert all(map(open, open_at))
    assert not any(map(open, closed_at))


@pytest.mark.parametrize("hours", ["22-06", "24:00-06:00", "22:00-06:60", "", "22:00-06:00 "])
def test_hours_that_are_none(hours: str) -> None:
    with pytest.raises(ValueError, match="is not like 22:00-06:00"):
        Allowance(hours)


def test_seconds_of_any_hour_up_to_now() -> None:
    clock = Clock()
    allowance = Allowance(seconds_per_hour=600, clock=clock)
    allowance.spend(599)
    assert allowance.open()
    clock.now += 100
    allowance.spend(2)
    assert not allowance.open()
    clock.now = MIDNIGHT + 3600 - 599
    assert not allowance.open()
    clock.now += 1.5  # the first second and a half of the first training are longer ago
    assert allowance.open()
    clock.now += 3600
    assert allowance.open()


def test_who_took_more_than_an_hour_waits_the_longer() -> None:
    clock = Clock()
    allowance = Allowance(seconds_per_hour=600, clock=clock)
    allowance.spend(7200)
    clock.now += 2999
    assert not allowance.open()
    clock.now += 2
    assert allowance.open()
