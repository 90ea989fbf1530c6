"""The request path, the same for every route: user → adapter → recall → compose → engine → turn."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection

from adapters.evaluation.canary import dealt
from adapters.lifecycle import versions
from adapters.registry.entries import Lease
from adapters.registry.registry import Registry
from preference.feedback import outcomes
from preference.learning import history
from preference.prior import Prior
from preference.recall.index import Recalled
from preference.recall.kind import asked
from preference.recall.recall import Recall
from preference.values import merge_values
from server.admission.identity import Caller
from server.admission.ledger import Ledger
from server.admission.limits import Limits, Pass
from server.admission.quota import Quota
from server.answering.plan import Plan
from server.answering.room import Room, bound, prompt_bytes, too_long
from server.answering.stream import Relay
from server.dialects.events import Rewrite, Transcript, rewrite
from server.dialects.generation import Attune, Composed, GenerationRequest
from server.dialects.messages import CountTokensRequest
from server.engine.client import Engine
from server.engine.pool import Engines, Replica
from server.engine.refusals import AdapterGone
from server.engine.stream import EngineStream
from server.observability.metrics import Metrics
from server.settings import Settings
from store import turns, users
from store.database import Database
from store.errors import EngineFailed, EngineRejected, EngineUnavailable, Invalid, NotFound
from store.loop_connection import LoopConnection
from store.message import Message
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
        recall: Recall,
        secret: bytes,
        metrics: Metrics,
        quota: Quota,
        limits: Limits,
        ledger: Ledger,
        system_role: bool = True,
        prior: Prior | None = None,
        on_turn: OnTurn | None = None,
    ) -> None:
        """``on_turn`` is told of each turn that is stored, with its user."""
        self._prior = prior
        self._on_turn = on_turn
        self._settings = settings
        self._database = database
        self._engines = engines
        self._recall = recall
        self._room = Room()
        self._secret = secret
        self._metrics = metrics
        self._quota = quota
        self._limits = limits
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
        user, request = await self._user(caller, body), body.conversation()
        values = merge_values(list(user.standing_values) if user else [], body.attune.values)
        recalled = await self._recalled(user, None, request, body.attune)
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
            async with self._planned(held, replica, caller, body) as plan:
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
        async with self._planned(held, replica, caller, body, most) as plan:
            return plan, await self._call(plan, body, call)

    async def _call(self, plan: Plan, body: GenerationRequest, call: Call[T]) -> T:
        try:
            return await call(plan.replica.engine, body.path, plan.payload, plan.opaque_id)
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

    @asynccontextmanager
    async def _planned(
        self, held: ExitStack, replica: Replica, caller: Caller, body: GenerationRequest, most: int | None = None
    ) -> AsyncIterator[Plan]:
        """A plan with at most so many preferences. What it holds goes on to ``held``, or ends here with an error."""
        with ExitStack() as stack:
            yield await self._plan(stack, replica, caller, body, most)
            held.push(stack.pop_all())

    async def _plan(
        self, held: ExitStack, replica: Replica, caller: Caller, body: GenerationRequest, most: int | None
    ) -> Plan:
        wish, created_at = body.attune, time.time()
        user = await self._user(caller, body)
        store_for = user if user and body.stores and not user.paused else None
        request = body.conversation()
        if user and self._is_control(user, wish, request, created_at):
            wish = wish.model_copy(update={"personalize": "retrieval", "k": 0})
        lease = await self._lease(replica.registry, user, wish, request, created_at)
        if lease:
            held.callback(replica.registry.release, lease)
        values = merge_values(list(user.standing_values) if user else [], wish.values)
        if self._prior and store_for and wish.k != 0 and wish.personalize != "adapter":
            user = await self._prior.welcome(store_for, request)
        recalled = await self._recalled(user, lease, request, wish)
        model = lease.name if lease and lease.name else replica.engine.base_model
        salt, kept = self._salt(caller.tenant), recalled[:most]

        def composition(kept: list[Recalled]) -> tuple[Composed, dict[str, Any]]:
            made = body.compose(values, [p.text for p in kept], system_role=self._system_role)
            return made, body.payload(made, model=model, cache_salt=salt)

        composed, payload = composition(kept)
        if kept and (fit := await self._room.fitting(replica, composed.prompt, payload, kept)) < len(kept):
            kept = kept[:fit]
            composed, payload = composition(kept)
        if set_aside := await self._set_aside(replica, caller, user, body, payload):
            held.callback(self._limits.settle, set_aside)
        told = [Rewrite("model", model, body.model)] if model != body.model else []
        return Plan(
            replica=replica,
            store_for=store_for,
            lease=lease,
            request=request,
            prompt=composed.prompt,
            payload=payload,
            rewrites=[*told, *body.rewrites(composed)],
            values=values,
            recalled=kept,
            left_out=len(recalled) - len(kept),
            created_at=created_at,
            client_id=wish.client_id,
            opaque_id=user.opaque_id if user else None,
            user=store_for.opaque_id if store_for else None,
            set_aside=set_aside,
            user_row=user,
        )

    async def _set_aside(
        self, replica: Replica, caller: Caller, user: User | None, body: GenerationRequest, payload: dict[str, Any]
    ) -> Pass | None:
        """What this answer may take at most. Where tokens are limited, an answer of no length of its own gets one."""
        named = user.owner.user if user else caller.user
        if not self._limits.limits_tokens(caller.key):
            return await self._limits.set_aside(caller.key, named, 0)
        context = await replica.engine.context()
        most = bound(body.path, payload, self._settings.answer_tokens, context)
        return await self._limits.set_aside(caller.key, named, most)

    def _spent(self, caller: Caller, plan: Plan, transcript: Transcript, *, partial: bool) -> None:
        """Count what an answer took, for its key and its user."""
        prompt, completion = transcript.prompt_tokens, transcript.completion_tokens
        if (aside := plan.set_aside) is not None:
            counted = prompt + completion
            if partial and not prompt:  # the engine did not say: each token is a byte at least
                counted = prompt_bytes(plan.payload) + sum(len(answer.encode()) for answer in transcript.answers)
            aside.spent = min(counted, aside.at_most) if partial else counted
        self._ledger.add(caller.key, plan.user_row, prompt, completion)

    def _is_control(self, user: User, wish: Attune, request: list[Message], at: float) -> bool:
        """Whether this conversation is one of those that are left unpersonalised, unless it says how it is to be."""
        share = self._settings.control_share
        if not share or user.paused or wish.personalize != "auto" or wish.adapter_version is not None:
            return False
        opening = next((message for message in request if message["role"] == "user"), None)
        return outcomes.is_control(user.opaque_id, json.dumps(opening, sort_keys=True), share, at)

    async def _user(self, caller: Caller, body: GenerationRequest) -> User | None:
        owner, wish = caller.owner, body.attune
        if owner is None or wish.personalize == "off":
            if wish.adapter_version:
                raise Invalid("An adapter version needs a user (X-User-Id).", param="attune.adapter_version")
            return None
        with self._metrics.stage("load_user"):
            user = await self._database.look_up(users.get, owner)
        if not body.stores or (user is not None and user.paused):
            return user
        await self._database.write_health.check()  # an answer that could not be kept is not asked for
        await self._quota.check(owner.tenant)
        # A user is made before the answer, so that one erased during it is not made anew by its turn.
        return await self._database.write(users.ensure, owner) if user is None else user

    async def _lease(
        self, registry: Registry, user: User | None, wish: Attune, request: list[Message], at: float
    ) -> Lease | None:
        if wish.adapter_version:
            message = f"Adapter version {wish.adapter_version} of this user does not exist or is not ready."
            missing = NotFound(message, param="attune.adapter_version")
            if user is None:
                raise missing
            try:
                version = await self._database.read(versions.get, user.owner, wish.adapter_version)
            except NotFound:
                raise missing from None
            if version.state != "ready":
                raise missing
            return await registry.acquire_version(user, version)
        if user is None or wish.adapter_version == 0 or wish.personalize == "retrieval":
            return None
        return registry.acquire(user, dealt(user, request, at))

    async def _recalled(
        self, user: User | None, lease: Lease | None, request: list[Message], wish: Attune
    ) -> list[Recalled]:
        k = self._settings.recall_k if wish.k is None else wish.k
        if user is None or wish.personalize == "adapter" or k == 0 or not asked(request):
            return []
        # The gate found such an adapter best alone: it knows what was learned before it was trained.
        alone = wish.personalize == "auto" and lease is not None and lease.version and lease.mode == "adapter"
        since = lease.learned_through if alone and lease else 0.0
        with self._metrics.stage("recall"):
            return await self._recall.recall(user, request, k=k, since=since)

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

    def _salt(self, tenant: str) -> str:
        return hmac.new(self._secret, tenant.encode(), hashlib.sha256).hexdigest()


def _record_unless_erased(c: Connection | LoopConnection, user: User, turn: Turn) -> None:
    with suppress(NotFound):
        turns.record(c, user.owner, turn, user.opaque_id)


def _ms_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
