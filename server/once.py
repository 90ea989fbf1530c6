"""What many ask for at a time, and is asked once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """The result of ``ask``, at most ``age`` seconds old, for one event loop.

    At most one call is under way, however long it takes. A caller gets None after waiting for ``patience`` seconds; the
    next caller joins the same call.
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
