"""SSE in, SSE out: the engine's events pass through, read once on their way.

Where one repeats what is ours (an adapter's internal name) it gets what the client sent instead; others stay as they
are, byte by byte.

Only one event is ever held back: the last one with data, which gets the ``attune`` object once the turn is stored.
Where answers come in choices, the engine is always asked for usage, so the chunk before its usage chunk waits for
it, a few microseconds; the usage chunk itself goes on only to a client that asked for it. Everything else is
forwarded before it is read.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.dialects.events import Event, Events, Part, Rewrite, rewrite
from server.engine.stream import EngineStream
from server.errors import body_of, envelope
from store.errors import AttuneError, EngineUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

_LINE_ENDS = [(end.encode(), json.dumps(end)[1:-1].encode()) for end in "\u0085\u2028\u2029"]
_EVENT_LIMIT = 16 << 20
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


Record = Callable[[bool], Awaitable[None]]
"""Stores a turn durably; the argument says whether it is partial."""


def one_line(event: bytes) -> bytes:
    """JSON whose texts have no Unicode line ends as they are: many clients end a line of a stream there."""
    for character, escaped in _LINE_ENDS:
        if character in event:
            event = event.replace(character, escaped)
    return event


class Relay:
    """One streamed answer on its way through. ``close`` must be called, whatever happened; it may be called twice."""

    def __init__(
        self,
        upstream: EngineStream,
        *,
        events: Events,
        attune: dict[str, Any],
        rewrites: Sequence[Rewrite],
        wants_usage: bool,
        record: Record | None,
        release: Callable[[], None],
        begun: Callable[[str], None] | None = None,
    ) -> None:
        """``begun`` is told the answer's id by the first event that has it; ``release`` may be called twice."""
        self._upstream = upstream
        self._events = events
        self._attune = attune
        self._rewrites = rewrites
        self._wants_usage = wants_usage
        self._record = record
        self._release = release
        self._begun = begun
        self._held: Event | None = None
        self._failed = False
        self._done = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        """What to send to the client; ends in an error event when the engine, or storing the turn, fails."""
        try:
            rest = b""
            async for received in self._upstream:
                *events, rest = _split(rest + received if rest else received)
                if len(rest) > _EVENT_LIMIT:
                    raise EngineUnavailable("The engine sent an event without an end.")
                out = b""
                for event in map(Event, events):
                    part = self._read(event)
                    if part in (Part.DONE, Part.CLOSE):
                        if out:  # what came before the end need not wait until the turn is stored
                            yield out
                        out = await self._end(part, event)
                    else:
                        out += self._pass(part, event)
                if out:
                    yield out
            if not self._done and not self._failed:
                raise EngineUnavailable("The engine stopped in the middle of the answer.")
        except AttuneError as error:
            if self._done:  # the last event is out: what breaks after it concerns nobody
                return
            log.warning("a streamed answer failed: %s", error)
            yield self._before() + self._events.error(body_of(error))
        except Exception:
            log.exception("a streamed answer failed")
            yield self._events.error(envelope("Something went wrong here.", "server_error", code="internal"))

    async def close(self) -> None:
        """Abort a generation that still runs, store a turn that was not stored as partial, free the adapter."""
        self._upstream.close()
        try:
            await self._store(partial=True)
        except AttuneError as error:
            log.warning("a partial turn was not stored: %s", error)
        finally:
            self._release()

    def _read(self, event: Event) -> Part:
        if self._rewrites and event.data is not None and rewrite(event.data, self._rewrites):
            event.respell()
        part = self._events.part(event)
        if self._begun is not None and self._events.completion_id:
            self._begun(self._events.completion_id)
            self._begun = None
        return part

    def _pass(self, part: Part, event: Event) -> bytes:
        """What goes on now that this event came."""
        if part is Part.BODY and self._held is None:
            return one_line(event.raw)
        if part is Part.ERROR:
            self._failed = True
        elif part is Part.USAGE:
            if self._wants_usage:
                self._held = event
            return b""
        before = self._before()
        if part is Part.FINISH and not self._wants_usage:
            self._held = event
            return before
        return before + one_line(event.raw)

    def _before(self) -> bytes:
        """The event that was held back, which goes on as it is."""
        held, self._held = self._held, None
        return b"" if held is None else one_line(held.raw)

    async def _end(self, part: Part, event: Event) -> bytes:
        """The last event with its ``attune`` object, once the turn is stored."""
        if part is Part.DONE:
            last = await self._finish() + event.raw
        else:
            await self._store(partial=False)
            last = self._with_attune(event)
        self._done = True
        return last

    async def _finish(self) -> bytes:
        if self._failed:
            return self._before()
        await self._store(partial=False)
        return self._with_attune(self._held or Event(b'data: {"object":"chat.completion.chunk","choices":[]}\n\n'))

    def _with_attune(self, event: Event) -> bytes:
        event.data = {**(event.data or {}), "attune": self._attune}
        event.respell()
        return one_line(event.raw)

    async def _store(self, *, partial: bool) -> None:
        record, self._record = self._record, None
        if record is not None:
            await record(partial)


class RelayResponse(Response):
    """Sends a relay's chunks, and closes it when they end or the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, relay: Relay) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await until_disconnect(receive, self._send(send))
        except ClientGone:
            log.debug("the client left in the middle of its answer")
        finally:
            await asyncio.shield(self._relay.close())

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._relay.chunks()) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client goes away: then ``ClientGone`` is raised."""
    working = asyncio.current_task()
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        if working is not None:
            working.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and working is not None and not working.uncancel():
            raise ClientGone from None
        raise
    finally:
        watching.cancel()


def _split(data: bytes) -> list[bytes]:
    """Whole events, each with its blank line, then what is left over."""
    parts, start = [], 0
    for end in _END_OF_EVENT.finditer(data):
        parts.append(data[start : end.end()])
        start = end.end()
    return [*parts, data[start:]]
