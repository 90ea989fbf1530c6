"""Users who ask and edit while engines and servers are killed, and what came of it."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from bench.adapter_users import PROMPTS, AdapterUser, Tally
from bench.arms import Arm, user_says
from bench.client import Answer, Broken, Connection
from bench.fleet import READ_TIMEOUT, Fleet, Process
from bench.servers import MODEL, Server, call
from lab.child import ServerFailed

WRITERS = 4
_BY_ADAPTER = {"store": False, "personalize": "adapter"}


@dataclass
class Outcome:
    """Answers, compared; and what failed: ``cut`` was under way where something was killed, ``failed`` was not.

    ``edits`` were acknowledged: by id, with their user.
    """

    tally: Tally = field(default_factory=Tally)
    failed: int = 0
    cut: int = 0
    first_failure: str = ""
    edits: dict[str, str] = field(default_factory=dict)


async def ask(
    fleet: Fleet, users: Sequence[AdapterUser], outcome: Outcome, stop: asyncio.Event, tokens: int, seed: int
) -> None:
    """Ask as one user after another, streamed and not, at one server or the other, until told to stop."""
    rng = random.Random(seed)
    while not stop.is_set():
        user, prompt, streamed = rng.choice(users), rng.randrange(len(PROMPTS)), rng.random() < 0.5
        process, started = rng.choice(fleet.servers), time.monotonic()
        arm = Arm("user", _at(fleet, process), user=user.name, more={"attune": _BY_ADAPTER})
        request = arm.request(PROMPTS[prompt], stream=streamed, tokens=tokens)
        try:
            connection = await Connection.open("127.0.0.1", process.port)
        except OSError:  # it is down: a load balancer would not have sent anybody there
            await asyncio.sleep(0.05)
            continue
        try:
            outcome.tally.add(user, prompt, await _answer(connection, request))
        except (Broken, OSError, TimeoutError, ValueError, LookupError) as error:
            of_engine = streamed and any(engine.died(started) for engine in fleet.engines)
            if process.died(started) or of_engine:
                outcome.cut += 1
            else:
                outcome.failed += 1
                outcome.first_failure = outcome.first_failure or f"{type(error).__name__}: {error}"[:500]
        finally:
            connection.close()


async def write(fleet: Fleet, outcome: Outcome, stop: asyncio.Event) -> None:
    """Some users ask and edit without a pause; what is acknowledged must be learned from, whoever is killed."""
    number = 0
    while not stop.is_set():
        number += 1
        user = f"writer-{number % WRITERS}"
        asked = user_says(f"Write an email to Ann, my client. Number {number}.")
        body = {"model": MODEL, "messages": asked, "max_tokens": 24, "temperature": 0}
        try:
            async with _at(fleet, fleet.servers[number % 2]).session(user) as session, asyncio.timeout(READ_TIMEOUT):
                made = await call(session, "POST", "/v1/chat/completions", body)
                edited = "Dear Ann, " + made["choices"][0]["message"]["content"]
                edit = {"type": "edit", "completion_id": made["id"], "edited_text": edited}
                outcome.edits[(await call(session, "POST", "/v1/feedback", edit))["id"]] = user
        except (aiohttp.ClientError, ServerFailed, OSError, TimeoutError, LookupError, ValueError):
            await asyncio.sleep(0.1)


def _at(fleet: Fleet, process: Process) -> Server:
    """Where a server is that may be down now."""
    return Server(process.kind, process.port, 0, fleet.key)


async def _answer(connection: Connection, request: bytes) -> Answer:
    async with asyncio.timeout(READ_TIMEOUT):
        return await connection.ask(request)
