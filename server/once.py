"""What many ask for at a time, and is asked once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """What ``ask`` gives, at most ``age`` seconds old. One call is under way at most, however long it takes.

    In one event loop. Who waits gets None after ``patience`` seconds, and the next one joins the same call.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, age: float, patience: float) -> None:
        self._ask = ask
        self._age = age
        self._patience = patience
        self._call: asyncio.Task[T] | None = None
        self._done_at = 0.0

    async def __call__(self) -> T | None:
        """The answer, or None where it takes too long. Raises what ``ask`` raises."""
        if self._call is None or (self._call.done() and time.monotonic() - self._done_at > self._age):
            self._call = asyncio.ensure_future(self._asked())
        try:
            return await asyncio.wait_for(asyncio.shield(self._call), self._patience)
        except TimeoutError:
            return None

    async def _asked(self) -> T:
        try:
            return await self._ask()
        finally:
            self._done_at = time.monotonic()
