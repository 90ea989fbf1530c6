"""Several engines behind one server, each with adapters of its own: who is asked for whom, and who if it is away.

A user's first engine is found by rendezvous hashing: it stays warm with the user's adapter and prefixes, and another
engine more or less moves only the users that it gains or loses.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from adapters.lifecycle.versions import Version
from adapters.registry.registry import Choice, Registry
from preference.ports import Generation, TokenScores
from server.engine.client import Engine
from store.errors import AttuneError, EngineFailed, EngineUnavailable
from store.message import Message
from store.owner import Owner
from store.users import User

log = logging.getLogger(__name__)
T = TypeVar("T")
_ASK_AGAIN = 1.0


@dataclass(frozen=True, eq=False)
class Replica:
    """One engine, the adapters in it, and the name that its share of users is found by."""

    name: str
    engine: Engine
    registry: Registry


class Engines:
    """What asks any engine, or all of them. Implements ``TextGenerator``. At least one; all serve one model."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = tuple(replicas)
        self._away: dict[Replica, asyncio.Task[None]] = {}
        self._turn = count()

    def order(self, owner: Owner | None) -> Sequence[Replica]:
        """Where to ask for this user, best first; without one, each replica in turn. Those that are away come last."""
        if len(self.replicas) == 1:
            return self.replicas
        if owner is None:
            first = next(self._turn) % len(self.replicas)
            ranked = [*self.replicas[first:], *self.replicas[:first]]
        else:
            ranked = sorted(self.replicas, key=lambda replica: _weight(replica.name, owner), reverse=True)
        return sorted(ranked, key=lambda replica: replica in self._away)  # keeps the order otherwise

    def avoid(self, replica: Replica) -> None:
        """It did not answer: others are asked first until it is ready again. The only one is never avoided."""
        if len(self.replicas) > 1 and replica not in self._away:
            log.warning("engine %s is away; its users go to others", replica.name)
            self._away[replica] = asyncio.get_running_loop().create_task(self._wait_for(replica))

    @property
    def base_model(self) -> str:
        """The served name; empty until an engine has told it."""
        return next((replica.engine.base_model for replica in self.replicas if replica.engine.base_model), "")

    async def model(self) -> str:
        """The served model's name. Raises ``EngineUnavailable`` while no engine has told it."""
        return self.base_model or await self._first(lambda replica: replica.engine.model())

    async def check(self, replica: Replica) -> None:
        """Raises ``EngineUnavailable`` for one that is not known to serve the model that all serve."""
        if (served := await replica.engine.model()) != (model := await self.model()):
            raise EngineUnavailable(f"An engine serves {served!r}, not {model!r}: all engines must serve one model.")

    async def ready(self) -> bool:
        """True when an engine answers."""
        return any(await asyncio.gather(*(replica.engine.ready() for replica in self.replicas)))

    async def generate(self, messages: Sequence[Message], *, max_tokens: int, model: str | None = None) -> Generation:
        """Answer ``messages`` greedily, outside the request path, with the base model of any engine."""
        return await self._first(lambda replica: replica.engine.generate(messages, max_tokens=max_tokens, model=model))

    async def score(
        self, pairs: Sequence[tuple[Sequence[Message], str]], *, model: str | None = None
    ) -> list[TokenScores]:
        """How likely answers are by the base model, outside the request path, of any engine."""
        return await self._first(lambda replica: replica.engine.score(pairs, model=model))

    async def loaded(self) -> set[str]:
        """Names of the adapters that some engine would serve now. Raises unless all of them tell."""
        return set().union(*await asyncio.gather(*(replica.engine.loaded() for replica in self.replicas)))

    def cut(self) -> None:
        """End every generation under way, and refuse new ones: the server stops."""
        for replica in self.replicas:
            replica.engine.cut()

    async def close(self) -> None:
        """Look for nobody any more."""
        for task in (tasks := list(self._away.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _first(self, ask: Callable[[Replica], Awaitable[T]]) -> T:
        """Of the first place that answers. Raises ``EngineUnavailable`` when none does."""
        *first, last = self.order(None)
        for replica in first:
            try:
                return await ask(replica)
            except EngineFailed:
                self.avoid(replica)
                raise
            except EngineUnavailable:
                self.avoid(replica)
        return await ask(last)

    async def _wait_for(self, replica: Replica) -> None:
        try:
            while not await replica.engine.ready():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(_ASK_AGAIN)
            await replica.registry.reconcile()  # it may have been restarted
        except AttuneError as error:
            log.info("engine %s answers, but does not say what it has: %s", replica.name, error.message)
        finally:
            self._away.pop(replica, None)
            log.info("engine %s is asked again", replica.name)


class Registries:
    """The registries of all engines. What a user has in others than the first goes when room is needed there."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    @property
    def loaded(self) -> int:
        """How many adapters are in the engines."""
        return sum(replica.registry.loaded for replica in self._engines.replicas)

    @property
    def serving(self) -> int:
        """How many users an adapter serves by default, in one engine or another."""
        return sum(replica.registry.serving for replica in self._engines.replicas)

    def of(self, owner: Owner) -> Registry:
        """Of the engine that answers this user now."""
        return self._engines.order(owner)[0].registry

    async def activate(self, user: User, version: Version | None, canary: Version | None = None) -> None:
        """``Registry.activate`` where this user is answered; elsewhere a request will notice."""
        await self.of(user.owner).activate(user, version, canary)

    async def switch(self, owner: Owner, choice: Choice) -> None:
        """``Registry.switch`` where this user is answered; elsewhere a request will notice."""
        await self.of(owner).switch(owner, choice)

    async def retire(self, user: User, version: int) -> None:
        """``Registry.retire`` everywhere."""
        await self._everywhere(lambda registry: registry.retire(user, version))

    async def forget(self, opaque_id: str) -> None:
        """``Registry.forget`` everywhere."""
        await self._everywhere(lambda registry: registry.forget(opaque_id))

    async def _everywhere(self, do: Callable[[Registry], Awaitable[None]]) -> None:
        """In all registries, whatever comes of it in one; raises the first error."""
        done = await asyncio.gather(
            *(do(replica.registry) for replica in self._engines.replicas), return_exceptions=True
        )
        for error in done:
            if error is not None:
                raise error


def _weight(name: str, owner: Owner) -> bytes:
    """Highest random weight: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998."""
    return hashlib.sha256(f"{name}\0{owner.tenant}\0{owner.user}".encode()).digest()
