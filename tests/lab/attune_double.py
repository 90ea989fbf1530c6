"""A server that speaks the part of Attune's API that cases are played over, and learns from edits as it is told."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from typing import Any

import aiohttp
from aiohttp import web

Learn = Callable[[str, str], list[str]]
"""What is learned from a draft and its edit."""
PROMPT_TOKENS, COMPLETION_TOKENS = 30, 10
"""What learning from an edit costs."""


class AttuneDouble:
    """Asks the engine at ``engine`` and brings all of a user's preferences with every answer.

    ``learn`` says what is learned; a text that starts with ``!`` takes the place of the user's last preference.
    ``pending`` is how often feedback is asked after before it was learned from.
    """

    def __init__(self, engine: str, learn: Learn) -> None:
        self.engine = engine
        self.learn = learn
        self.pending = 1
        self.edits: list[tuple[str, str]] = []  # user and edited text
        self.asked: list[tuple[str, dict[str, Any]]] = []  # user and chat request
        self.preferences: dict[str, list[dict[str, Any]]] = {}
        self._answers: dict[str, str] = {}
        self._feedback: dict[str, dict[str, Any]] = {}
        self._whose: dict[str, str] = {}
        self._waiting: dict[str, int] = {}
        self._ids = count()

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/feedback", self._accept)
        app.router.add_get("/v1/feedback", self._given)
        app.router.add_delete("/v1/feedback/{id}", self._forget)
        app.router.add_get("/v1/feedback/{id}", self._came)
        app.router.add_get("/v1/users/{user}/preferences", self._list)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "double", "object": "model"}]})

    async def _chat(self, request: web.Request) -> web.Response:
        user, body = request.headers["X-User-Id"], await request.json()
        self.asked.append((user, body))
        if "refuse" in json.dumps(body["messages"]):
            error = {"message": "The prompt is too long.", "type": "invalid_request_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=400)
        attune = body.pop("attune", {})
        sent = {**body, "model": "fake-model"}
        async with aiohttp.ClientSession() as session, session.post(f"{self.engine}{request.path}", json=sent) as got:
            answer = await got.json()
        self._answers[answer["id"]] = answer["choices"][0]["message"]["content"]
        held = [p for p in self.preferences.get(user, []) if p["superseded_by"] is None]
        told = [] if attune.get("personalize") == "off" else [{**p, "score": 1.0} for p in held]
        return web.json_response({**answer, "attune": {"preferences": told}})

    async def _accept(self, request: web.Request) -> web.Response:
        user, body = request.headers["X-User-Id"], await request.json()
        self.edits.append((user, body["edited_text"]))
        id = f"fb-{next(self._ids)}"
        held = self.preferences.setdefault(user, [])
        learned = []
        for text in self.learn(self._answers[body["completion_id"]], body["edited_text"]):
            made = {"id": f"pref-{next(self._ids)}", "text": text.removeprefix("!"), "superseded_by": None}
            if text.startswith("!"):
                held[-1]["superseded_by"] = made["id"]
            held.append(made)
            learned.append(made["id"])
        status = "learned" if learned else "nothing_learned"
        self._feedback[id] = {"id": id, "status": status, "reason": None, "learned": learned}
        self._waiting[id] = self.pending
        self._whose[id] = user
        return web.json_response({"id": id, "status": "pending"}, status=202)

    async def _given(self, request: web.Request) -> web.Response:
        user = request.headers["X-User-Id"]
        found = [held for id, held in reversed(self._feedback.items()) if self._whose[id] == user]
        return web.json_response({"data": found[: int(request.query["limit"])]})

    async def _forget(self, request: web.Request) -> web.Response:
        del self._feedback[request.match_info["id"]]
        return web.json_response({})

    async def _came(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        self._waiting[id] -= 1
        held = self._feedback[id]
        await asyncio.sleep(0)
        return web.json_response({**held, "status": "pending", "learned": []} if self._waiting[id] >= 0 else held)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self.preferences.get(request.match_info["user"], [])})

    async def _metrics(self, request: web.Request) -> web.Response:
        spent = {"prompt": PROMPT_TOKENS, "completion": COMPLETION_TOKENS}
        lines = ["# TYPE attune_learning_tokens counter"]
        for direction, tokens in spent.items():
            labels = f'tenant="local",direction="{direction}"'
            lines.append(f"attune_learning_tokens_total{{{labels}}} {tokens * len(self.edits)}")
        return web.Response(text="\n".join(lines) + "\n")
