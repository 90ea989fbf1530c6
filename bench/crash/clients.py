"""What apps do to the server while it is killed: ask, edit, repeat, replace, race, train, activate, delete."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from bench.client import Answer, Broken
from bench.crash.engine import MODEL, ScriptedEngine, edited, preference_of
from bench.crash.ledger import Faults, Feedback, Person

EDITS_A_PERSON = 24
"""Then somebody new comes: what one user has stays small enough to be compared after every kill."""
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_PAUSES = ((400, 1.0), (100, 0.2), (0, 0.02))
"""Seconds between what one person does, on average, when so many jobs wait: learning has to keep up."""
_TOPICS = "rent trip bill loan visit order parcel garden".split()


class Gone(Exception):
    """The server went away before it answered: whether it did what was asked is in doubt."""


class Clients:
    """``persons`` are those at work now, ``everybody`` all there ever were."""

    def __init__(self, url: str, engine: ScriptedEngine, faults: Faults, *, count: int, rng: random.Random) -> None:
        self.persons: list[Person] = []
        self.everybody: list[Person] = []
        self.done: Counter[str] = Counter()
        self.waiting = 0  # jobs
        self.on_accepted: Callable[[], None] = lambda: None
        self.url = url
        self.engine = engine
        self.faults = faults
        self.rng = rng
        self.marks = itertools.count(1)
        self.topics: dict[str, str] = {}  # completion id → what was asked
        self._count = count

    async def work(self, session: aiohttp.ClientSession) -> None:
        """Everybody works until the server is gone."""
        self._fill()
        await asyncio.gather(*(App(self, session, person).live() for person in self.persons))

    async def edit_until(self, session: aiohttp.ClientSession, edits: int) -> None:
        """Whoever has edited most goes on until so many edits were acknowledged. Raises ``Gone``."""
        self._fill()
        person = max(self.persons, key=lambda one: len(one.edits))
        while sum(edit.id is not None for edit in person.edits) < edits:
            await App(self, session, person).edit()

    async def train_everybody(self, session: aiohttp.ClientSession) -> None:
        """Ask for an adapter for each. Raises ``Gone``."""
        for person in self.persons:
            await App(self, session, person).train()

    def _fill(self) -> None:
        """Let somebody new come for each who has edited enough."""
        self.persons = [p for p in self.persons if len(p.edits) < EDITS_A_PERSON or p.in_doubt]
        while len(self.persons) < self._count:
            self.persons.append(Person(f"person-{len(self.everybody)}"))
            self.everybody.append(self.persons[-1])


class App:
    """The app of one person during one life of the server."""

    def __init__(self, clients: Clients, session: aiohttp.ClientSession, person: Person) -> None:
        self._clients = clients
        self._session = session
        self._person = person
        self._rng = clients.rng
        self._adapters = f"/v1/users/{person.name}/adapters"

    async def live(self) -> None:
        """Do one thing after another until the server is gone."""
        acts = {
            self.edit: 12, self._replace: 3, self._race: 2, self._repeat: 2, self._reuse_key: 1, self._other: 4,
            self._teach: 3, self._rank: 1, self.train: 1, self._activate: 1, self._delete: 0.3,
        }  # fmt: skip
        try:
            # First, as an app does that got no answer: before anything newer that could replace it.
            for sent in self._person.in_doubt:
                await self._send(sent)
                self._clients.done["in doubt, sent again"] += sent.is_edit
            pause = next(seconds for waiting, seconds in _PAUSES if self._clients.waiting >= waiting)
            while True:
                (act,) = self._rng.choices(list(acts), weights=list(acts.values()))
                await act()
                await asyncio.sleep(self._rng.uniform(0, 2 * pause))
        except Gone:
            return

    async def edit(self) -> None:
        """Ask, and edit the answer."""
        await self._send(self._edit_of(await self._ask()))

    async def train(self) -> None:
        """Ask for an adapter."""
        status, answer = await self._call("POST", self._adapters)
        if status not in (202, 404, 409):
            self._unexpected("train", status, answer)

    async def _ask(self, topic: str | None = None) -> str:
        topic = topic or self._topic()
        body = {"model": MODEL, "messages": [{"role": "user", "content": topic}], "stream": self._rng.random() < 0.3}
        if body["stream"]:
            completion_id, draft = await self._stream(body)
        else:
            status, answer = await self._call("POST", "/v1/chat/completions", body)
            if status != 200:
                self._unexpected("chat", status, answer)
                raise Gone
            completion_id, draft = answer["id"], answer["choices"][0]["message"]["content"]
        self._person.drafts[completion_id] = draft
        self._clients.topics[completion_id] = topic
        self._clients.done["answers"] += 1
        return completion_id

    def _topic(self) -> str:
        return f"about the {self._rng.choice(_TOPICS)} {next(self._clients.marks)}"

    def _mark(self) -> str:
        return f"mark{next(self._clients.marks):06d}"

    async def _replace(self) -> None:
        """Edit an earlier answer."""
        if self._person.drafts:
            await self._send(self._edit_of(self._rng.choice(list(self._person.drafts))))

    async def _race(self) -> None:
        """The same key three times at once."""
        edit = self._edit_of(await self._ask(), keyed=True)
        ends = await asyncio.gather(*(self._send(edit) for _ in range(3)), return_exceptions=True)
        self._clients.done["races"] += 1
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _repeat(self) -> None:
        """The same key again, mostly after a crash: the same id."""
        if keyed := self._keyed():
            await self._send(self._rng.choice(keyed))
            self._clients.done["keys repeated"] += 1

    async def _reuse_key(self) -> None:
        """A key with another body: refused, without effect."""
        if keyed := self._keyed():
            edit = self._rng.choice(keyed)
            body = {**edit.body, "edited_text": "something else"}
            status, answer = await self._call("POST", "/v1/feedback", body, edit.key)
            if status != 422:
                self._unexpected("a key with another body", status, answer)

    def _keyed(self) -> list[Feedback]:
        return [edit for edit in self._person.edits if edit.key and edit.id]

    async def _other(self) -> None:
        """Feedback of another kind on an earlier answer."""
        if not self._person.drafts:
            return
        says: list[dict[str, Any]] = [
            {"type": "rating", "rating": self._rng.randint(1, 7)},
            {"type": "thumbs", "thumb": self._rng.choice(["up", "down"])},
            {"type": "signal", "signal": self._rng.choice(["copied", "sent", "discarded"])},
            {"type": "outcome", "name": f"outcome {next(self._clients.marks)}", "value": self._rng.random()},
        ]
        await self._say({**self._rng.choice(says), "completion_id": self._rng.choice(list(self._person.drafts))})

    async def _teach(self) -> None:
        """A wish in words about an answer, or a text that the user wrote alone: both are learned from."""
        mark = self._mark()
        if self._rng.random() < 0.5 and self._person.drafts:
            about = self._rng.choice(list(self._person.drafts))
            await self._say({"type": "comment", "completion_id": about, "comment": preference_of(mark)})
            return
        topic = self._topic()
        self._clients.engine.targets[topic] = text = edited(f"Dear reader, {topic}", mark)
        await self._say({"type": "demonstration", "messages": [{"role": "user", "content": topic}], "text": text})

    async def _rank(self) -> None:
        """Two answers to one request, the better one first."""
        topic = self._topic()
        await self._say({"type": "ranking", "completion_ids": [await self._ask(topic) for _ in range(2)]})

    async def _activate(self) -> None:
        version = self._rng.choice([0, *await self._ready()])
        status, answer = await self._call("POST", f"{self._adapters}/{version}/activate")
        if status not in (200, 404, 409):
            self._unexpected("activate", status, answer)
        self._clients.done["activations"] += status == 200

    async def _delete(self) -> None:
        if ready := await self._ready():
            version = self._rng.choice(ready)
            status, answer = await self._call("DELETE", f"{self._adapters}/{version}")
            if status == 200:
                self._person.deleted.add(version)
                self._clients.done["versions deleted"] += 1
            elif status != 404:
                self._unexpected("delete", status, answer)

    async def _ready(self) -> list[int]:
        status, answer = await self._call("GET", self._adapters)
        if status != 200:
            if status != 404:
                self._unexpected("adapters", status, answer)
            return []
        return [version["version"] for version in answer["data"] if version["state"] == "ready"]

    def _edit_of(self, completion_id: str, *, keyed: bool | None = None) -> Feedback:
        """A new edit of an answer, with a key or mostly with one."""
        keyed = self._rng.random() < 0.7 if keyed is None else keyed
        mark = self._mark()
        text = edited(self._person.drafts[completion_id], mark)
        body = {"type": "edit", "completion_id": completion_id, "edited_text": text}
        self._person.sent.append(Feedback(body, f"key-{mark}" if keyed else None, mark))
        self._clients.engine.targets[self._clients.topics[completion_id]] = text
        return self._person.sent[-1]

    async def _say(self, body: dict[str, Any]) -> None:
        """Feedback of another kind, with a key."""
        self._person.sent.append(Feedback(body, f"other-{next(self._clients.marks):06d}"))
        await self._send(self._person.sent[-1])

    async def _send(self, feedback: Feedback) -> None:
        kind = "edits" if feedback.is_edit else feedback.body["type"]
        status, answer = await self._call("POST", "/v1/feedback", feedback.body, feedback.key)
        if status != 202:
            self._unexpected(kind, status, answer)
            return
        if feedback.id not in (None, answer["id"]):
            said = f"{feedback.key} was accepted as {feedback.id}, then as {answer['id']}"
            self._clients.faults.add("doubled", said)
        self._clients.done[kind] += feedback.id is None
        feedback.id = answer["id"]
        if feedback.is_edit:
            self._clients.on_accepted()

    async def _call(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON of the answer. Raises ``Gone``, also where the server says that it is about to go."""
        headers = {"X-User-Id": self._person.name} | ({"Idempotency-Key": key} if key else {})
        try:
            async with self._session.request(
                method, self._clients.url + path, json=body, headers=headers, timeout=_TIMEOUT
            ) as response:
                answer = await response.json()
        except aiohttp.ContentTypeError as error:  # uvicorn's own words for who is cut off at the end of a drain
            self._clients.done["cut off by a stop"] += 1
            raise Gone from error
        except (aiohttp.ClientError, OSError) as error:
            raise Gone from error
        if response.status == 503:
            self._clients.done["told to come back later"] += 1
            raise Gone
        return response.status, answer

    async def _stream(self, body: Any) -> tuple[str, str]:
        """Id and text of a streamed answer that came to its end."""
        url, headers = f"{self._clients.url}/v1/chat/completions", {"X-User-Id": self._person.name}
        try:
            async with self._session.post(url, json=body, headers=headers, timeout=_TIMEOUT) as response:
                answer = Answer(response.status, 0, pieces=[(0, await response.read())])
            if answer.status != 200:
                self._clients.done["told to come back later"] += 1
                raise Gone
            return answer.id, answer.said()[0]
        except (aiohttp.ClientError, OSError, Broken) as error:
            raise Gone from error

    def _unexpected(self, what: str, status: int, answer: Any) -> None:
        self._clients.faults.add("unexpected", f"{what} got {status}: {str(answer)[:200]}")
