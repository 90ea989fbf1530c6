"""What apps do to the server while it is killed: ask, edit, repeat, replace, race, train, activate, delete."""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp

from bench.crash.engine import MODEL, ScriptedEngine, edited, preference_of
from bench.crash.ledger import Edit, Faults, Other, Person

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
        self._url = url
        self._engine = engine
        self._faults = faults
        self._count = count
        self._rng = rng
        self._marks = itertools.count(1)
        self._topics: dict[str, str] = {}  # completion id → what was asked

    async def work(self, session: aiohttp.ClientSession) -> None:
        """Everybody works until the server is gone."""
        self._fill()
        await asyncio.gather(*(self._live(session, person) for person in self.persons))

    def _fill(self) -> None:
        """Let somebody new come for each who has edited enough."""
        self.persons = [p for p in self.persons if len(p.edits) < EDITS_A_PERSON or p.in_doubt]
        while len(self.persons) < self._count:
            self.persons.append(Person(f"person-{len(self.everybody)}"))
            self.everybody.append(self.persons[-1])

    async def edit_until(self, session: aiohttp.ClientSession, edits: int) -> None:
        """Whoever has edited most goes on until so many edits were acknowledged. Raises ``Gone``."""
        self._fill()
        person = max(self.persons, key=lambda one: len(one.edits))
        while sum(edit.id is not None for edit in person.edits.values()) < edits:
            await self._edit(session, person)

    async def train_everybody(self, session: aiohttp.ClientSession) -> None:
        """Ask for an adapter for each. Raises ``Gone``."""
        for person in self.persons:
            await self._train(session, person)

    async def _live(self, session: aiohttp.ClientSession, person: Person) -> None:
        acts = {
            self._edit: 12,
            self._replace: 3,
            self._race: 2,
            self._repeat: 2,
            self._reuse_key: 1,
            self._other: 4,
            self._teach: 3,
            self._rank: 1,
            self._train: 1,
            self._activate: 1,
            self._delete: 0.3,
        }
        try:
            # First, as an app does that got no answer: before anything newer that could replace them.
            for edit in person.in_doubt:
                await self._send(session, person, edit)
                self.done["in doubt, sent again"] += 1
            for other in [one for one in person.others.values() if one.id is None]:
                await self._send_other(session, person, other)
            pause = next(seconds for waiting, seconds in _PAUSES if self.waiting >= waiting)
            while True:
                (act,) = self._rng.choices(list(acts), weights=list(acts.values()))
                await act(session, person)
                await asyncio.sleep(self._rng.uniform(0, 2 * pause))
        except Gone:
            return

    async def _ask(self, session: aiohttp.ClientSession, person: Person, topic: str | None = None) -> str:
        topic = topic or self._topic()
        body = {"model": MODEL, "messages": [{"role": "user", "content": topic}], "stream": self._rng.random() < 0.3}
        if body["stream"]:
            completion_id, draft = await self._stream(session, person, body)
        else:
            status, answer = await self._call(session, person, "POST", "/v1/chat/completions", body)
            if status != 200:
                self._unexpected("chat", status, answer)
                raise Gone
            completion_id, draft = answer["id"], answer["choices"][0]["message"]["content"]
        person.drafts[completion_id] = draft
        self._topics[completion_id] = topic
        self.done["answers"] += 1
        return completion_id

    def _topic(self) -> str:
        return f"about the {self._rng.choice(_TOPICS)} {next(self._marks)}"

    async def _edit(self, session: aiohttp.ClientSession, person: Person) -> None:
        completion_id = await self._ask(session, person)
        await self._send(session, person, self._new(person, completion_id, keyed=self._rng.random() < 0.7))

    async def _replace(self, session: aiohttp.ClientSession, person: Person) -> None:
        if person.drafts:
            completion_id = self._rng.choice(list(person.drafts))
            await self._send(session, person, self._new(person, completion_id, keyed=self._rng.random() < 0.7))

    async def _race(self, session: aiohttp.ClientSession, person: Person) -> None:
        """The same key three times at once."""
        edit = self._new(person, await self._ask(session, person), keyed=True)
        ends = await asyncio.gather(*(self._send(session, person, edit) for _ in range(3)), return_exceptions=True)
        self.done["races"] += 1
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _repeat(self, session: aiohttp.ClientSession, person: Person) -> None:
        """The same key again, mostly after a crash: the same id."""
        if keyed := [edit for edit in person.edits.values() if edit.key and edit.id]:
            await self._send(session, person, self._rng.choice(keyed))
            self.done["keys repeated"] += 1

    async def _reuse_key(self, session: aiohttp.ClientSession, person: Person) -> None:
        """A key with another body: refused, without effect."""
        if keyed := [edit for edit in person.edits.values() if edit.key and edit.id]:
            edit = self._rng.choice(keyed)
            body = {**edit.body(), "edited_text": "something else"}
            headers = {"Idempotency-Key": str(edit.key)}
            status, answer = await self._call(session, person, "POST", "/v1/feedback", body, headers)
            if status != 422:
                self._unexpected("a key with another body", status, answer)

    async def _other(self, session: aiohttp.ClientSession, person: Person) -> None:
        """Feedback of another kind on an earlier answer."""
        if not person.drafts:
            return
        says: list[dict[str, Any]] = [
            {"type": "rating", "rating": self._rng.randint(1, 7)},
            {"type": "thumbs", "thumb": self._rng.choice(["up", "down"])},
            {"type": "signal", "signal": self._rng.choice(["copied", "sent", "discarded"])},
            {"type": "outcome", "name": f"outcome {next(self._marks)}", "value": self._rng.random()},
        ]
        body = {**self._rng.choice(says), "completion_id": self._rng.choice(list(person.drafts))}
        await self._say(session, person, body)

    async def _teach(self, session: aiohttp.ClientSession, person: Person) -> None:
        """A wish in words about an answer, or a text that the user wrote alone: both are learned from."""
        mark = f"mark{next(self._marks):06d}"
        if self._rng.random() < 0.5 and person.drafts:
            about = self._rng.choice(list(person.drafts))
            await self._say(
                session, person, {"type": "comment", "completion_id": about, "comment": preference_of(mark)}
            )
            return
        topic = self._topic()
        self._engine.targets[topic] = text = edited(f"Dear reader, {topic}", mark)
        asked = [{"role": "user", "content": topic}]
        await self._say(session, person, {"type": "demonstration", "messages": asked, "text": text})

    async def _rank(self, session: aiohttp.ClientSession, person: Person) -> None:
        """Two answers to one request, the better one first."""
        topic = self._topic()
        ranked = [await self._ask(session, person, topic) for _ in range(2)]
        await self._say(session, person, {"type": "ranking", "completion_ids": ranked})

    async def _say(self, session: aiohttp.ClientSession, person: Person, body: dict[str, Any]) -> None:
        other = Other(f"other-{next(self._marks):06d}", body)
        person.others[other.key] = other
        await self._send_other(session, person, other)

    async def _send_other(self, session: aiohttp.ClientSession, person: Person, other: Other) -> None:
        headers = {"Idempotency-Key": other.key}
        status, answer = await self._call(session, person, "POST", "/v1/feedback", other.body, headers)
        if status != 202:
            self._unexpected("feedback of another kind", status, answer)
            return
        if other.id not in (None, answer["id"]):
            self._faults.add("doubled", f"{other.key} was accepted as {other.id}, then as {answer['id']}")
        self.done[other.body["type"]] += other.id is None
        other.id = answer["id"]

    async def _train(self, session: aiohttp.ClientSession, person: Person) -> None:
        path = f"/v1/users/{person.name}/adapters"
        status, answer = await self._call(session, person, "POST", path)
        if status not in (202, 404, 409):
            self._unexpected("train", status, answer)

    async def _activate(self, session: aiohttp.ClientSession, person: Person) -> None:
        version = self._rng.choice([0, *await self._ready(session, person)])
        path = f"/v1/users/{person.name}/adapters/{version}/activate"
        status, answer = await self._call(session, person, "POST", path)
        if status not in (200, 404, 409):
            self._unexpected("activate", status, answer)
        self.done["activations"] += status == 200

    async def _delete(self, session: aiohttp.ClientSession, person: Person) -> None:
        if ready := await self._ready(session, person):
            version = self._rng.choice(ready)
            status, answer = await self._call(session, person, "DELETE", f"/v1/users/{person.name}/adapters/{version}")
            if status == 200:
                person.deleted.add(version)
                self.done["versions deleted"] += 1
            elif status != 404:
                self._unexpected("delete", status, answer)

    async def _ready(self, session: aiohttp.ClientSession, person: Person) -> list[int]:
        status, answer = await self._call(session, person, "GET", f"/v1/users/{person.name}/adapters")
        if status != 200:
            if status != 404:
                self._unexpected("adapters", status, answer)
            return []
        return [version["version"] for version in answer["data"] if version["state"] == "ready"]

    def _new(self, person: Person, completion_id: str, *, keyed: bool) -> Edit:
        mark = f"mark{next(self._marks):06d}"
        edit = Edit(mark, completion_id, edited(person.drafts[completion_id], mark), f"key-{mark}" if keyed else None)
        person.edits[mark] = edit
        self._engine.targets[self._topics[completion_id]] = edit.text
        return edit

    async def _send(self, session: aiohttp.ClientSession, person: Person, edit: Edit) -> None:
        headers = {"Idempotency-Key": edit.key} if edit.key else {}
        status, answer = await self._call(session, person, "POST", "/v1/feedback", edit.body(), headers)
        if status != 202:
            self._unexpected("feedback", status, answer)
            return
        if edit.id not in (None, answer["id"]):
            self._faults.add("doubled", f"{edit.key} was accepted as {edit.id}, then as {answer['id']}")
        self.done["edits"] += edit.id is None
        edit.id = answer["id"]
        self.on_accepted()

    async def _call(
        self,
        session: aiohttp.ClientSession,
        person: Person,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and JSON of the answer. Raises ``Gone``, also where the server says that it is about to go."""
        try:
            async with session.request(
                method,
                self._url + path,
                json=body,
                headers={"X-User-Id": person.name, **(headers or {})},
                timeout=_TIMEOUT,
            ) as response:
                answer = await response.json()
        except aiohttp.ContentTypeError as error:  # uvicorn's own words for who is cut off at the end of a drain
            self.done["cut off by a stop"] += 1
            raise Gone from error
        except (aiohttp.ClientError, OSError) as error:
            raise Gone from error
        if response.status == 503:
            self.done["told to come back later"] += 1
            raise Gone
        return response.status, answer

    async def _stream(self, session: aiohttp.ClientSession, person: Person, body: Any) -> tuple[str, str]:
        """Id and text of a streamed answer that came to its end."""
        completion_id, text, ended = "", "", False
        try:
            async with session.post(
                f"{self._url}/v1/chat/completions", json=body, headers={"X-User-Id": person.name}, timeout=_TIMEOUT
            ) as response:
                if response.status != 200:
                    self.done["told to come back later"] += 1
                    raise Gone
                async for line in response.content:
                    data = line.decode().strip().removeprefix("data: ")
                    if data == "[DONE]":
                        ended = True
                    elif data:
                        event = json.loads(data)
                        if "error" in event:
                            raise Gone
                        completion_id = event.get("id", completion_id)
                        text += "".join(c["delta"].get("content") or "" for c in event.get("choices", ()))
        except (aiohttp.ClientError, OSError) as error:
            raise Gone from error
        if not ended:
            raise Gone
        return completion_id, text

    def _unexpected(self, what: str, status: int, answer: Any) -> None:
        self._faults.add("unexpected", f"{what} got {status}: {str(answer)[:200]}")
