"""The arms of the gateway's benchmark: who is asked, as whom, and with which texts."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.client import request
from bench.servers import Server

USER = "bench-user"
FRESH_USER = "bench-user-of-new-texts"  # whose new texts push nobody else's out of memory
PREFERENCES = (
    ("Greet with Dear.", "Write in a formal tone.", "Use bullet points.", "Sign off with Best wishes.", "No emojis."),
    ("Greet with Hi.", "Write in a casual tone.", "Keep it short.", "Sign off with Cheers.", "No bullet points."),
    ("Write one paragraph.", "Give no heading.", "Name every number.", "Use the past tense.", "Leave out opinions."),
    ("Begin with the conclusion.", "Use a heading.", "At most five lines.", "Use bullet points.", "Add no advice."),
)
KINDS = ("email to {}, my client", "email to {}, a friend", "email about the incident to {}", "answer to {}'s review")
NAMES = ("Anna", "Walter", "Maria", "Peter")
NOTES = """Notes:
about: the launch
what: the invoice is late
when: Friday at 10
where: the head office
request: send the quote"""

_fresh = itertools.count(1)


class Refused(Exception):
    """A server did not do what the benchmark needs before it can measure."""


@dataclass(frozen=True)
class Arm:
    """One way to ask: ``messages``, or else the texts. ``fresh`` adds something never asked before to each text."""

    name: str
    server: Server
    user: str | None = None
    fresh: bool = False
    messages: tuple[tuple[dict[str, Any], ...], ...] = ()
    model: str = ""  # by default the server's

    def requests(self, *, stream: bool, tokens: int) -> Iterator[bytes]:
        """Requests without end, each for ``tokens`` tokens."""
        known = self.messages or tuple(_user(text) for text in texts())
        while self.fresh:
            for *before, last in known:
                text = str(last["content"]).replace(NOTES, f"{NOTES}\nreference: {next(_fresh):06d}", 1)
                new = {**last, "content": text}
                yield self._request((*before, new), stream, tokens)
        yield from itertools.cycle([self._request(messages, stream, tokens) for messages in known])

    def _request(self, messages: tuple[dict[str, Any], ...], stream: bool, tokens: int) -> bytes:
        body = {
            "model": self.model or self.server.model, "messages": messages, "temperature": 0, "max_tokens": tokens,
            "stream": stream,
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self.server.key}"} | ({"X-User-Id": self.user} if self.user else {})
        return request("127.0.0.1", "/v1/chat/completions", body, headers)


def texts() -> list[str]:
    """The texts that are asked again and again: every kind of request, for every name."""
    return [_text(kind, name) for name in NAMES for kind in KINDS]


async def introduce(attune: Server, user: str = USER) -> list[tuple[dict[str, Any], ...]]:
    """State twenty preferences, each in a context, through the public API; the prompts that the texts become.

    They are locked, so that every near context counts. Raises ``Refused`` when a text is not personalised.
    """
    headers = {"Authorization": f"Bearer {attune.key}", "X-User-Id": user}
    async with aiohttp.ClientSession(attune.url, headers=headers) as session:
        path = f"/v1/users/{user}/preferences"
        for kind, wishes in zip(KINDS, PREFERENCES, strict=True):
            for number, wish in enumerate(wishes):
                context = _text(kind, NAMES[number % len(NAMES)])
                stated = await _call(session, "POST", path, {"text": wish, "context": context})
                await _call(session, "PATCH", f"{path}/{stated['id']}", {"locked": True})
        return [await _prompt(session, attune.model, text) for text in texts()]


async def _prompt(session: aiohttp.ClientSession, model: str, text: str) -> tuple[dict[str, Any], ...]:
    body = {"model": model, "messages": _user(text), "max_tokens": 1, "temperature": 0}
    answer = await _call(session, "POST", "/v1/chat/completions", body)
    if not answer["attune"]["preferences"]:
        raise Refused(f"Attune recalled no preference for {text!r}.")
    return tuple((await _call(session, "GET", f"/v1/turns/{answer['id']}", None))["prompt"])


async def _call(session: aiohttp.ClientSession, method: str, path: str, body: Any) -> Any:
    async with session.request(method, path, json=body) as response:
        if response.status >= 300:
            raise Refused(f"{method} {path} answered {response.status}: {await response.text()}")
        return await response.json()


def _text(kind: str, name: str) -> str:
    return f"Write an {kind.format(name)}.\n{NOTES}"


def _user(text: str) -> tuple[dict[str, Any], ...]:
    return ({"role": "user", "content": text},)
