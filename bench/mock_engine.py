"""A mock engine, a program of its own (`python -m bench.mock_engine PORT`): vLLM's dialect, without a model.

It answers with as many tokens as ``max_tokens`` says. Events are rendered beforehand, written one by one as an engine
does, and nothing but the request's JSON is parsed: it must not be what limits a measurement.

``POST /pace?ms=5`` sets the time between tokens. Then each streamed token is the time at which it was sent, so that a
client on the same machine knows how long it took to arrive. At 0, the default, they are sent at once and are the same
every time, as a real engine's are at temperature 0: who gets another answer to the same request has asked again, and
servers learn from that. ``&slots=4`` lets so many answers that are not streamed be under way at a time; others wait.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httptools
import uvloop

MODEL = "attune-tiny"
PROMPT_TOKENS = 50
DEFAULT_TOKENS = 16
WORD = "abcdefghijklmnopqrst "


class Pace:
    """The time between two tokens, for all connections, and how many answers may be under way."""

    seconds = 0.0
    slots: asyncio.Semaphore | None = None


class Engine(asyncio.Protocol):
    """One connection."""

    def __init__(self, pace: Pace, ids: "itertools.count[int]") -> None:
        self._pace = pace
        self._ids = ids
        self._transport: Any = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio."""
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: a client that left has its answer aborted."""
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        """httptools."""
        self._url, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        """httptools."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        url = urlsplit(self._url.decode())
        if url.path == "/v1/chat/completions":
            self._chat()
        elif url.path == "/v1/models":
            model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "vllm", "parent": None}
            self._send({"object": "list", "data": [model]})
        elif url.path == "/health":
            self._send({})
        elif url.path == "/pace":
            asked = parse_qs(url.query)
            self._pace.seconds = float(asked["ms"][0]) / 1000
            self._pace.slots = asyncio.Semaphore(int(asked["slots"][0])) if "slots" in asked else None
            self._send({})
        else:
            self._send({"error": {"message": "Not found", "type": "NotFoundError", "code": 404}}, "404 Not Found")

    def _chat(self) -> None:
        body = json.loads(self._body)
        tokens = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_TOKENS
        id = f"chatcmpl-mock{next(self._ids):016x}"
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
        if body.get("stream"):
            wants_usage = (body.get("stream_options") or {}).get("include_usage")
            self._later(self._stream(id, tokens, usage if wants_usage else None))
            return
        message = {"role": "assistant", "content": WORD * tokens}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        answer = {"id": id, "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
        answer["usage"] = usage
        if self._pace.seconds or self._pace.slots:
            self._later(self._in_turn(self._pace.seconds * tokens, answer))
        else:
            self._send(answer)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on while the client is there."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_turn(self, seconds: float, answer: dict[str, Any]) -> None:
        async with self._pace.slots or contextlib.nullcontext():
            await asyncio.sleep(seconds)
        self._send(answer)

    async def _stream(self, id: str, tokens: int, usage: dict[str, int] | None) -> None:
        write, seconds = self._transport.write, self._pace.seconds
        write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
            + _chunk(_event(id, [_choice({"role": "assistant", "content": ""})]))
        )
        same = WORD.strip().encode()
        head, _, tail = _chunk(_event(id, [_choice({"content": "@" * 20 + " "})])).partition(b"@" * 20)
        for _ in range(tokens):
            if seconds:
                await asyncio.sleep(seconds)
            write(head + (b"%020d" % time.monotonic_ns() if seconds else same) + tail)
        last = [_chunk(_event(id, [_choice({"content": ""}, "length")]))]
        if usage is not None:
            last.append(_chunk(_event(id, [], usage)))
        for piece in [*last, _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]:
            write(piece)

    def _send(self, answer: dict[str, Any], status: str = "200 OK") -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _event(id: str, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    event = {"id": id, "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
    if usage is not None:
        event["usage"] = usage
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def serve(port: int) -> None:
    """Serve on loopback until cancelled."""
    pace, ids = Pace(), itertools.count(1)
    server = await asyncio.get_running_loop().create_server(lambda: Engine(pace, ids), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
