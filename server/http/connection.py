"""One client's connection: a request arrives whole, and soon, or not at all; an answer is read, or it is dropped.

What uvicorn leaves open: the time and size of a request's head, the time of its body, how long a client may leave
its answer unread, how many connections there are; and clients that ask for HTTP/2, or speak HTTP/1.0. uvicorn has no
seam for these, so that this file, and no other, reaches into its protocol: `test_connection.py` knows what it takes
there, `test_wire.py` tries it over sockets.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.errors import envelope

HEAD_LIMIT = 64 * 1024
"""Bytes of request line and headers."""
AHEAD_LIMIT = 256 * 1024
"""Bytes of further requests that may come before an answer is complete."""
_UPGRADING = {b"upgrade", b"http2-settings"}
STALL_SECONDS = 60.0
"""How long a client may leave a full buffer unread."""
_LATE = envelope("The request did not arrive in time.", "invalid_request_error", code="request_timeout")
_TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_LATE), _LATE)
)


class Parser(httptools.HttpRequestParser):
    """Tells its connection of a request that asks for another protocol, instead of ending there."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__(connection)
        self._connection = connection
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def feed_data(self, data: Any) -> None:
        """Parse."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.get_method() != b"CONNECT":
                self._connection.decline_upgrade(data[upgrade.args[0] :])


class UntilClose(RequestResponseCycle):
    """An answer to HTTP/1.0, which has no chunks: one without a length ends where its connection does."""

    _endless = False

    async def send(self, message: Any) -> None:
        """ASGI."""
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._endless = b"content-length" not in names
            if self._endless:
                self.chunked_encoding = False
        elif self._endless and message["type"] == "http.response.body":
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Connection(HttpToolsProtocol):
    """``limited`` gives a class with the bounds of a server."""

    arrival_seconds = 30.0
    connections_limit = 4096

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = Parser(self)
        self._in_head = True
        self._head = 0
        self._ahead = 0
        self._came = False
        self._cycles: list[RequestResponseCycle] = []
        self._arrival: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """One more, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_limit:
            transport.abort()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing waits for it any more, nor goes on for it: uvicorn tells the newest request alone."""
        self._arrived()
        for cycle in self._cycles:
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head that does not end, and more than a little ahead of the answers."""
        super().data_received(data)
        self._came = True
        self._ahead = self._ahead + len(data) if self.pipeline else 0
        if self._ahead > AHEAD_LIMIT:
            self.transport.abort()
        elif self._ahead:
            self.flow.resume_reading()  # or we would not see the client leave
        if not self._in_head:
            if self.cycle.response_complete:  # a blank line: uvicorn waits no more for the next request, but we do
                self._expect()
            return
        self._head += len(data)
        if self._head > HEAD_LIMIT and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._expect()

    def on_headers_complete(self) -> None:
        """Its body may follow."""
        if self._asks_for_upgrade():
            return
        super().on_headers_complete()  # raises where the target cannot be read: then no request has begun
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = UntilClose
        self._in_head = False
        self._cycles = [*(cycle for cycle in self._cycles if not cycle.response_complete), self.cycle]

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read, unless that would end up inside another answer."""
        if self._behind() or self._begun():
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_complete(self) -> None:
        """It is whole."""
        if self._asks_for_upgrade():
            return
        super().on_message_complete()
        self._arrived()

    def decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as a server may (RFC 9110, 7.8): the head is read anew without what asks for more.

        The parser takes what follows such a head for the other protocol's, and so would lose the body.
        """
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token.strip() for token in value.split(b",") if token.strip().lower() not in _UPGRADING]
                value = b", ".join(kept)
            if name not in _UPGRADING and value:
                head.append(name + b": " + value)
        self.parser = Parser(self)
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]) + rest)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def _asks_for_upgrade(self) -> bool:
        """Whether the request that is parsed is to be read anew; that of CONNECT, a tunnel, is answered as it is."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _expect(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(self.arrival_seconds, self._give_up)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _give_up(self) -> None:
        self._arrival = None
        if self.transport.is_closing():
            return
        if self._behind() or self._goes_on():
            self._expect()
            return
        if not self._begun():
            self.transport.write(_TOO_LATE)
        self.transport.close()

    def _behind(self) -> bool:
        """Whether an earlier request than the one that arrives is not answered."""
        return any(not cycle.response_complete for cycle in self._cycles if self._in_head or cycle is not self.cycle)

    def _goes_on(self) -> bool:
        """Whether an import arrives, of which something came in the time that others have for all, or waits for us."""
        path = "" if self._in_head or self._begun() else self.scope["path"]
        came, self._came = self._came or self.flow.read_paused, False
        return came and "/v1/users/" in path and path.endswith("/import")

    def _begun(self) -> bool:
        """Whether the request that arrives has been answered already, if only in part."""
        return not self._in_head and self.cycle.response_started


def limited(arrival_seconds: float, connections_limit: int) -> type[Connection]:
    """Connections with these bounds."""
    bounds = {"arrival_seconds": arrival_seconds, "connections_limit": connections_limit}
    return type("LimitedConnection", (Connection,), bounds)
