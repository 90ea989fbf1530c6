"""A streamed answer of an engine."""

import time
from collections.abc import AsyncIterator

import aiohttp

from server.engine.refusals import GONE, STOPPING
from store.errors import EngineUnavailable


class EngineStream:
    """A streamed answer: raw bytes as they come, and ``close``, which aborts generation when it is still under way."""

    def __init__(self, response: aiohttp.ClientResponse, started: float) -> None:
        self._response = response
        self._started = started
        self.first_byte_seconds: float | None = None  # from the request to the first chunk, once it is there
        self._cut = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Chunks as the network delivers them. Raises ``EngineUnavailable`` when the engine goes away."""
        try:
            async for chunk in self._response.content.iter_any():
                if self.first_byte_seconds is None:
                    self.first_byte_seconds = time.perf_counter() - self._started
                yield chunk
        except GONE as error:
            message = STOPPING if self._cut else "The engine stopped in the middle of the answer."
            raise EngineUnavailable(message) from error

    def cut(self) -> None:
        """Make whoever reads it see it fail, and abort generation."""
        self._cut = True
        self._response.close()

    def close(self) -> None:
        """Drop the connection unless the answer was read to its end; vLLM then aborts the request."""
        self._response.close()
