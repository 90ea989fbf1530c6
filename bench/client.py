"""A client that stamps what it receives: one keep-alive connection, raw asyncio, nothing parsed while it waits.

Everything it times is compared with other times, so it must cost little and the same for all: bytes are stamped where
the event loop hands them over, and events are cut and read only after the answer has ended.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httptools


class Broken(Exception):
    """The connection ended in the middle of an answer."""


@dataclass
class Answer:
    """One answer: when it was asked for, and when each piece of it came, in nanoseconds of the monotonic clock."""

    status: int
    asked: int
    ended: int = 0
    pieces: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(piece for _, piece in self.pieces)

    @property
    def whole(self) -> int:
        """Nanoseconds from the request to the last byte."""
        return self.ended - self.asked

    @property
    def streamed(self) -> bool:
        """Whether it came as events."""
        return self.body.startswith(b"data: ")

    def json(self) -> Any:
        """The body of an answer that was not streamed."""
        return json.loads(self.body)

    def events(self) -> list[tuple[int, bytes]]:
        """The data of each server-sent event, with the time at which its last byte came."""
        found, rest = [], b""
        for stamp, piece in self.pieces:
            *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            found += [(stamp, event.removeprefix(b"data: ")) for event in events if event.startswith(b"data: ")]
        return found

    def tokens(self) -> list[tuple[int, str]]:
        """The text of each event that carries some, with the time at which it came."""
        found = []
        for stamp, event in self.events():
            if event != b"[DONE]":
                choices = json.loads(event).get("choices") or [{}]
                if text := (choices[0].get("delta") or {}).get("content"):
                    found.append((stamp, text))
        return found

    @property
    def id(self) -> str:
        """What the server calls it."""
        told = json.loads(self.events()[0][1]) if self.streamed else self.json()
        return str(told["id"])

    def said(self) -> tuple[str, int | None]:
        """The text, and the adapter's version where Attune tells it. Raises ``Broken`` unless the answer is whole."""
        if self.status != 200:
            raise Broken(f"{self.status}: {self.body.decode(errors='replace')[:300]}")
        if not self.streamed:
            whole = self.json()
            return whole["choices"][0]["message"]["content"] or "", whole.get("attune", {}).get("adapter_version")
        events = [event for _, event in self.events()]
        if events[-1:] != [b"[DONE]"]:
            raise Broken(f"The stream has no end: {events[-1:]}")
        parts = [json.loads(event) for event in events[:-1]]
        if error := next((part["error"] for part in parts if "error" in part), None):
            raise Broken(f"The stream has an error: {error}")
        version = next((part["attune"]["adapter_version"] for part in parts if "attune" in part), None)
        return "".join(text for _, text in self.tokens()), version


class Connection(asyncio.Protocol):
    """One connection, one request at a time. ``open`` makes it, ``ask`` uses it, ``close`` ends it."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._parser: Any = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._answer = Answer(0, 0)
        self._now = 0

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        """Connect. Raises ``OSError``."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    @property
    def closed(self) -> bool:
        """Whether either side has ended it."""
        return self._transport is None

    async def ask(self, request: bytes) -> Answer:
        """Send a whole request and wait for the end of its answer. Raises ``Broken`` when the connection ends first."""
        if self._transport is None:
            raise Broken("The connection is closed.")
        self._parser = httptools.HttpResponseParser(self)
        self._waiting = asyncio.get_running_loop().create_future()
        self._answer = Answer(0, time.monotonic_ns())
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio. The one place where time is taken."""
        self._now = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.connection_lost(error)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio."""
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Broken(str(error or "The server closed the connection.")))

    def on_headers_complete(self) -> None:
        """httptools."""
        self._answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """httptools."""
        self._answer.pieces.append((self._now, body))

    def on_message_complete(self) -> None:
        """httptools."""
        self._answer.ended = self._now
        if self._transport is not None and not self._parser.should_keep_alive():
            self.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(self._answer)


def request(host: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a POST with a JSON body."""
    payload = json.dumps(body, separators=(",", ":")).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, f"Content-Length: {len(payload)}", "", ""]).encode() + payload
