"""The arms of a benchmark: who is asked, as whom, and with which texts."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.client import request
from bench.servers import Server, call
from lab.child import ServerFailed

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

Messages = tuple[dict[str, Any], ...]
_fresh = itertools.count(1)


@dataclass(frozen=True)
class Arm:
    """One way to ask: ``prompts``, or else the texts. ``fresh`` adds something never asked before to each text."""

    name: str
    server: Server
    user: str | None = None
    fresh: bool = False
    prompts: tuple[Messages, ...] = ()
    model: str = ""  # by default the server's
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the body."""

    def requests(self, *, stream: bool, tokens: int) -> Iterator[bytes]:
        """Requests without end, each for ``tokens`` tokens."""
        known = self.prompts or tuple(user_says(text) for text in texts())
        while self.fresh:
            for *before, last in known:
                text = str(last["content"]).replace(NOTES, f"{NOTES}\nreference: {next(_fresh):06d}", 1)
                yield self.request((*before, {**last, "content": text}), stream=stream, tokens=tokens)
        yield from itertools.cycle([self.request(prompt, stream=stream, tokens=tokens) for prompt in known])

    def request(self, messages: Messages, *, stream: bool, tokens: int) -> bytes:
        """One request."""
        body = {
            "model": self.model or self.server.model, "messages": messages, "temperature": 0, "max_tokens": tokens,
            "stream": stream, **self.more,
        }  # fmt: skip
        headers = {"Authorization": f"Bearer {self.server.key}"} | ({"X-User-Id": self.user} if self.user else {})
        return request("127.0.0.1", "/v1/chat/completions", body, {**headers, **self.headers})


def texts() -> list[str]:
    """The texts that are asked again and again: every kind of request, for every name."""
    return [_text(kind, name) for name in NAMES for kind in KINDS]


def user_says(text: str) -> Messages:
    """A conversation of that one message."""
    return ({"role": "user", "content": text},)


async def introduce(attune: Server, user: str = USER) -> tuple[Messages, ...]:
    """State twenty preferences, each in a context, through the public API; the prompts that the texts become.

    They are locked, so that every near context counts. Raises ``ServerFailed`` when a text is not personalised.
    """
    async with attune.session(user) as session:
        path = f"/v1/users/{user}/preferences"
        for kind, wishes in zip(KINDS, PREFERENCES, strict=True):
            for number, wish in enumerate(wishes):
                context = _text(kind, NAMES[number % len(NAMES)])
                stated = await call(session, "POST", path, {"text": wish, "context": context})
                await call(session, "PATCH", f"{path}/{stated['id']}", {"locked": True})
        return tuple([await _prompt(session, attune.model, text) for text in texts()])


async def _prompt(session: aiohttp.ClientSession, model: str, text: str) -> Messages:
    body = {"model": model, "messages": user_says(text), "max_tokens": 1, "temperature": 0}
    answer = await call(session, "POST", "/v1/chat/completions", body)
    if not answer["attune"]["preferences"]:
        raise ServerFailed(f"Attune recalled no preference for {text!r}.")
    return tuple((await call(session, "GET", f"/v1/turns/{answer['id']}"))["prompt"])


def _text(kind: str, name: str) -> str:
    return f"Write an {kind.format(name)}.\n{NOTES}"
