"""What many ask for at a time is asked once, and nobody waits for ever."""

import asyncio

import pytest

from server.once import Once


class Asked:
    def __init__(self) -> None:
        self.times = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> int:
        self.times += 1
        await self.go.wait()
        return self.times


async def test_many_at_a_time_ask_once_and_again_when_it_is_old() -> None:
    asked = Asked()
    once = Once(asked, age=0.05, patience=5)
    assert await asyncio.gather(*(once() for _ in range(50))) == [1] * 50
    assert await once() == 1
    await asyncio.sleep(0.1)
    assert await once() == 2


async def test_what_takes_too_long_is_not_asked_again_meanwhile() -> None:
    asked = Asked()
    asked.go.clear()
    once = Once(asked, age=0, patience=0.02)
    assert await asyncio.gather(*(once() for _ in range(20))) == [None] * 20
    assert (await once(), asked.times) == (None, 1)
    asked.go.set()
    await asyncio.sleep(0)
    assert await once() in (1, 2)


async def test_an_error_is_everybodys_and_asked_again() -> None:
    async def fail() -> int:
        raise ValueError("no")

    once = Once(fail, age=0, patience=5)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await once()
