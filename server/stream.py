"""SSE in, SSE out: the engine's events pass through, and what the turn needs is kept for later.

An adapter's internal name becomes the model that the client asked for; every other byte stays.

Only one event is ever held back: the last data chunk, which gets the ``attune`` object once the turn is stored.
The engine is always asked for usage, so the chunk before its usage chunk waits for it, a few microseconds; the
usage chunk itself goes on only to a client that asked for it. Everything else is forwarded before it is read.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from preference.errors import AttuneError, EngineUnavailable
from server.engine import EngineStream
from server.errors import body_of, envelope

log = logging.getLogger(__name__)
T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
_EVENT_LIMIT = 16 << 20
_END_OF_EVENT = re.compile(rb"\r?\n\r?\n")
# Inside a JSON string these quotes would be escaped: text cannot look like either.
_FINISHES = re.compile(rb'"finish_reason"\s*:\s*"')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


class Transcript:
    """What one generation said, from the bytes that passed; read once, at its end."""

    def __init__(self) -> None:
        self.completion_id = ""
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._texts: dict[int, list[str]] = {}

    @classmethod
    def of_answer(cls, body: bytes) -> "Transcript":
        """From a whole completion."""
        transcript = cls()
        transcript._read(json.loads(body), "message")
        return transcript

    @classmethod
    def of_events(cls, events: list[bytes]) -> "Transcript":
        """From the events of a stream. Without a usage chunk (cut short) tokens are the chunks that carried text."""
        transcript = cls()
        for event in events:
            try:
                transcript._read(json.loads(_data(event)), "delta")
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # a comment, [DONE], an error, or half an event
        return transcript

    @property
    def answers(self) -> list[str]:
        """One text a choice; empty where a choice only called tools."""
        return ["".join(self._texts.get(index, [])) for index in range(max(self._texts, default=-1) + 1)]

    def _read(self, completion: dict[str, Any], part: str) -> None:
        self.completion_id = self.completion_id or str(completion.get("id") or "")
        for choice in completion["choices"]:
            text = (choice.get(part) or {}).get("content") or ""
            self._texts.setdefault(int(choice["index"]), []).append(text)
            self.completion_tokens += bool(text)
        if usage := completion.get("usage"):
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.completion_tokens = int(usage.get("completion_tokens") or 0)


Record = Callable[[Transcript, bool], Awaitable[None]]
"""Stores a turn durably; the second argument says whether it is partial."""


def with_attune(body: bytes, attune: bytes) -> bytes:
    """``body``, which ends in a JSON object, with one more member; every other byte stays."""
    head, brace, tail = body.rpartition(b"}")
    return head + b',"attune":' + attune + brace + tail


class Relay:
    """One streamed answer on its way through. ``close`` must be called, whatever happened; it may be called twice."""

    def __init__(
        self,
        upstream: EngineStream,
        *,
        attune: bytes,
        model_told: tuple[bytes, bytes],
        choices: int,
        wants_usage: bool,
        record: Record | None,
        release: Callable[[], None],
    ) -> None:
        self._upstream = upstream
        self._attune = attune
        self._model_told = model_told
        self._choices = choices
        self._wants_usage = wants_usage
        self._record = record
        self._release = release
        self._kept: list[bytes] = []
        self._held = b""
        self._failed = False
        self._done = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        """What to send to the client; ends in an error event when the engine, or storing the turn, fails."""
        try:
            rest = b""
            async for received in self._upstream:
                *events, rest = _split(rest + received)
                if len(rest) > _EVENT_LIMIT:
                    raise EngineUnavailable("The engine sent an event without an end.")
                out = b"".join([part for event in events for part in await self._pass(event)])
                if out:
                    yield out
            if not self._done:
                raise EngineUnavailable("The engine stopped in the middle of the answer.")
        except AttuneError as error:
            if self._done:  # [DONE] is out: what breaks after it concerns nobody
                return
            log.warning("a streamed answer failed: %s", error.message)
            yield self._held + b"data: " + body_of(error) + b"\n\n" + DONE
        except Exception:
            log.exception("a streamed answer failed")
            yield b"data: " + envelope("Something went wrong here.", "server_error", code="internal") + b"\n\n" + DONE

    async def close(self) -> None:
        """Abort a generation that still runs, store a turn that was not stored as partial, free the adapter."""
        self._upstream.close()
        try:
            await self._store(partial=True)
        except AttuneError as error:
            log.warning("a partial turn was not stored: %s", error.message)
        finally:
            release, self._release = self._release, _nothing
            release()

    async def _pass(self, event: bytes) -> list[bytes]:
        event = event.replace(*self._model_told)
        if event.startswith(b"data: [DONE]"):
            last = await self._finish()
            self._done = True
            return [last, event]
        if self._record is not None:
            self._kept.append(event)
        if event.startswith(b'data: {"error"'):
            self._failed = True
        elif _NO_CHOICES.search(event):
            if self._wants_usage:
                self._held = event
            return []
        elif _FINISHES.search(event):
            self._choices -= _finished(event)
            if self._choices <= 0 and not self._wants_usage:
                before, self._held = self._held, event
                return [before]
        before, self._held = self._held, b""
        return [before, event]

    async def _finish(self) -> bytes:
        if self._failed:
            return self._held
        await self._store(partial=False)
        if self._held:
            return with_attune(self._held, self._attune)
        return with_attune(b'data: {"object":"chat.completion.chunk","choices":[]}\n\n', self._attune)

    async def _store(self, *, partial: bool) -> None:
        record, self._record = self._record, None
        kept, self._kept = self._kept, []
        if record is not None:
            transcript = Transcript.of_events(kept)
            if transcript.completion_id:
                await record(transcript, partial)


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
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _split(data: bytes) -> list[bytes]:
    """Whole events, each with its blank line, then what is left over."""
    parts, start = [], 0
    for end in _END_OF_EVENT.finditer(data):
        parts.append(data[start : end.end()])
        start = end.end()
    return [*parts, data[start:]]


def _data(event: bytes) -> bytes:
    return event.partition(b"data:")[2]


def _finished(event: bytes) -> int:
    try:
        return sum(choice.get("finish_reason") is not None for choice in json.loads(_data(event))["choices"])
    except (ValueError, TypeError, KeyError):
        return 0


def _nothing() -> None:
    """The release of an answer that was released."""
