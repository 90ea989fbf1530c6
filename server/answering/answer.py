"""The request path, the same for every route: user → adapter → recall → compose → engine → turn."""

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection

from preference.learning import history
from preference.values import merge_values
from server.admission.identity import Caller
from server.admission.ledger import Ledger
from server.answering.plan import Plan
from server.answering.planner import Planner
from server.answering.room import prompt_bytes, too_long
from server.answering.stream import Relay
from server.dialects.events import Transcript, rewrite
from server.dialects.generation import GenerationRequest
from server.dialects.messages import CountTokensRequest
from server.engine.client import Engine
from server.engine.pool import Engines, Replica
from server.engine.refusals import AdapterGone
from server.engine.stream import EngineStream
from server.observability.metrics import Metrics
from server.settings import Settings
from store import turns
from store.database import Database
from store.errors import EngineFailed, EngineRejected, EngineUnavailable, NotFound
from store.loop_connection import LoopConnection
from store.owner import Owner
from store.turns import Turn
from store.users import User

log = logging.getLogger(__name__)
T = TypeVar("T")
Call = Callable[[Engine, str, dict[str, Any], str | None], Awaitable[T]]
"""Asks an engine's route with a payload, for the user of that opaque id."""
OnTurn = Callable[[User, Turn], None]
_spelled = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""JSON as vLLM spells whole answers: orjson writes exponents of floats otherwise."""


class Assistant:
    """Answers requests for a generation. One for the whole server; holds no state of any request."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        engines: Engines,
        planner: Planner,
        metrics: Metrics,
        ledger: Ledger,
        system_role: bool,
        on_turn: OnTurn | None,
    ) -> None:
        """``on_turn`` is told of each turn that is stored, with its user."""
        self._on_turn = on_turn
        self._settings = settings
        self._database = database
        self._engines = engines
        self._planner = planner
        self._metrics = metrics
        self._ledger = ledger
        self._system_role = system_role
        self._under_way: Counter[tuple[Owner | None, str]] = Counter()

    async def answer(self, caller: Caller, body: GenerationRequest) -> bytes:
        """A whole completion with its ``attune`` object; the turn is stored before it is returned."""
        started = time.perf_counter()
        with ExitStack() as held:
            plan, answered = await self._send(held, caller, body, self._complete)
            held.callback(lambda: self._metrics.took("whole", time.perf_counter() - started))
            transcript = body.transcript(answered)
            self._spent(caller, plan, transcript, partial=False)
            if plan.store_for is not None:
                await self._record(plan, transcript, partial=False, total_ms=_ms_since(started))
            rewrite(answered, plan.rewrites)
            return _spelled({**answered, "attune": plan.attune}).encode()

    async def stream(self, caller: Caller, body: GenerationRequest) -> Relay:
        """A streamed completion under way. The caller must close it."""
        started = time.perf_counter()
        held = ExitStack()
        plan, upstream = await self._send(held, caller, body, self._stream)
        owner, events = caller.owner, body.events()
        ids = [] if plan.client_id is None else [plan.client_id]
        self._under_way.update((owner, id) for id in ids)
        first_token_ms: int | None = None

        def begun(completion_id: str) -> None:
            nonlocal first_token_ms
            first_token_ms = _ms_since(started)
            ids.append(completion_id)
            self._under_way[owner, completion_id] += 1

        async def record(partial: bool) -> None:
            transcript, total_ms = events.transcript(), _ms_since(started)
            self._spent(caller, plan, transcript, partial=partial)
            await self._record(plan, transcript, partial=partial, total_ms=total_ms, first_token_ms=first_token_ms)

        def ended() -> None:
            for id in ids:
                self._under_way[owner, id] -= 1
                if self._under_way[owner, id] <= 0:
                    del self._under_way[owner, id]
            if upstream.first_byte_seconds is not None:
                self._metrics.took("engine", upstream.first_byte_seconds)
            self._metrics.took("whole", time.perf_counter() - started)

        held.callback(ended)
        return Relay(
            upstream,
            events=events,
            attune=plan.attune,
            rewrites=plan.rewrites,
            wants_usage=body.wants_usage,
            record=record,
            release=held.close,
            begun=begun if plan.store_for else None,
        )

    def is_under_way(self, owner: Owner, completion_id: str) -> bool:
        """Whether this server is streaming that answer, by its id or the app's own; its turn is stored at the end."""
        return (owner, completion_id) in self._under_way

    async def count_tokens(self, caller: Caller, body: CountTokensRequest) -> int:
        """How many tokens the prompt would have, made personal as that of an answer by the base model."""
        body.check(self._settings, await self._engines.model())
        user, request = await self._planner.user(caller, body), body.conversation()
        values = merge_values(list(user.standing_values) if user else [], body.attune.values)
        recalled = await self._planner.recalled(user, None, request, body.attune)
        composed = body.compose(values, [p.text for p in recalled], system_role=self._system_role)
        asked: dict[str, Any] = {"model": body.model, "messages": composed.prompt}
        if tools := body.chat_tools():
            asked["tools"] = tools
        replica = self._engines.order(caller.owner)[0]
        return int(json.loads(await replica.engine.complete("/tokenize", asked))["count"])

    async def _complete(self, engine: Engine, path: str, payload: dict[str, Any], user: str | None) -> dict[str, Any]:
        with self._metrics.stage("engine"):
            answered = await engine.complete(path, payload, user)
        with suppress(orjson.JSONDecodeError):
            answer = orjson.loads(answered)
            if isinstance(answer, dict):
                return answer
        raise EngineFailed("The engine gave an answer that is none of its own; try again shortly.")  # a proxy's page

    async def _stream(self, engine: Engine, path: str, payload: dict[str, Any], user: str | None) -> EngineStream:
        with self._metrics.tracing.span("engine"):
            return await engine.stream(path, payload, user)

    async def _send(self, held: ExitStack, caller: Caller, body: GenerationRequest, call: Call[T]) -> tuple[Plan, T]:
        """What an engine says, and the plan it was asked by; ``held`` has what that holds until it is answered."""
        body.check(self._settings, await self._engines.model())
        *first, last = self._engines.order(caller.owner)
        for replica in first:
            try:
                return await self._send_to(held, replica, caller, body, call)
            except EngineFailed:
                raise  # a request that one engine cannot bear is not tried on all
            except EngineUnavailable as error:
                log.info("%s did not answer, another engine is asked: %s", replica.name, error.message)
        return await self._send_to(held, last, caller, body, call)

    async def _send_to(
        self, held: ExitStack, replica: Replica, caller: Caller, body: GenerationRequest, call: Call[T]
    ) -> tuple[Plan, T]:
        try:
            await self._engines.check(replica)
        except EngineUnavailable:
            self._engines.avoid(replica)
            raise
        plan, most = None, None
        try:
            async with self._planner.planned(held, replica, caller, body) as plan:
                return plan, await self._call(plan, body, call)
        except EngineRejected as error:
            if isinstance(error, AdapterGone) and plan is not None:
                if not plan.adapter_version:
                    message = "Nobody behind the engine's URL serves the model; try again shortly."
                    raise EngineUnavailable(message) from None
                # A remote engine restarted without telling us, or another server on it unloaded this one.
                await replica.registry.reconcile(plan.lease)
            elif plan is not None and plan.recalled and too_long(error):
                most = 0
            else:
                raise
        async with self._planner.planned(held, replica, caller, body, most) as plan:
            return plan, await self._call(plan, body, call)

    async def _call(self, plan: Plan, body: GenerationRequest, call: Call[T]) -> T:
        opaque_id = plan.user.opaque_id if plan.user else None
        try:
            return await call(plan.replica.engine, body.path, plan.payload, opaque_id)
        except asyncio.CancelledError:
            if plan.set_aside:  # how much was written by then nobody says
                plan.set_aside.spent = plan.set_aside.at_most
            raise
        except EngineUnavailable:
            self._engines.avoid(plan.replica)
            raise
        except EngineRejected as error:
            error.message = error.message.replace(plan.payload["model"], body.model)
            raise

    def _spent(self, caller: Caller, plan: Plan, transcript: Transcript, *, partial: bool) -> None:
        """Count what an answer took, for its key and its user."""
        prompt, completion = transcript.prompt_tokens, transcript.completion_tokens
        if (aside := plan.set_aside) is not None:
            counted = prompt + completion
            if partial and not prompt:  # the engine did not say: each token is a byte at least
                counted = prompt_bytes(plan.payload) + sum(len(answer.encode()) for answer in transcript.answers)
            aside.spent = min(counted, aside.at_most) if partial else counted
        self._ledger.add(caller.key, plan.user, prompt, completion)

    async def _record(
        self, plan: Plan, transcript: Transcript, *, partial: bool, total_ms: int, first_token_ms: int | None = None
    ) -> None:
        if plan.store_for is None or not transcript.completion_id:
            return
        turn = Turn(
            completion_id=transcript.completion_id,
            created_at=plan.created_at,
            model=plan.replica.engine.base_model,
            request=plan.request,
            prompt=plan.prompt,
            prompt_sha256=hashlib.sha256(json.dumps(plan.prompt, sort_keys=True).encode()).hexdigest(),
            answers=transcript.answers,
            applied_values=plan.values,
            applied_preferences=plan.preferences,
            adapter_version=plan.adapter_version,
            personalized=plan.personalized,
            prompt_tokens=transcript.prompt_tokens,
            completion_tokens=transcript.completion_tokens,
            partial=partial,
            cut=transcript.cut,
            client_id=plan.client_id,
            request_sha256=history.digest(plan.request) if self._on_turn else None,
            first_token_ms=first_token_ms,
            total_ms=total_ms,
        )
        with self._metrics.stage("record"):
            await self._database.write_unsynced(_record_unless_erased, plan.store_for, turn)
        if self._on_turn:
            self._on_turn(plan.store_for, turn)


def _record_unless_erased(c: Connection | LoopConnection, user: User, turn: Turn) -> None:
    with suppress(NotFound):
        turns.record(c, user.owner, turn, user.opaque_id)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
