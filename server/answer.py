"""The request path, the same for every route: user → adapter → recall → compose → engine → turn."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from adapters import versions
from adapters.canary import dealt
from adapters.registry import Lease, Registry
from preference import turns, users
from preference.database import Database
from preference.errors import EngineFailed, EngineUnavailable, Invalid, NotFound
from preference.prompt import Message, last_user_text
from preference.recall import Recall, Recalled
from preference.shortcut import Shortcut
from preference.turns import Turn
from preference.users import User
from preference.values import Value, merge_values
from server.engine import AdapterGone, Engine, EngineStream
from server.engines import Engines, Place
from server.events import Transcript
from server.generation import Attune, GenerationRequest
from server.identity import Caller
from server.metrics import Metrics
from server.settings import Settings
from server.stream import Relay, with_attune

log = logging.getLogger(__name__)
T = TypeVar("T")
Call = Callable[[Engine, str, dict[str, Any]], Awaitable[T]]
"""Asks an engine's route with a payload."""


@dataclass(frozen=True)
class Plan:
    """One request made personal: what which engine gets, why, and for whom the turn is stored (``None``: nobody)."""

    place: Place
    store_for: User | None
    lease: Lease | None
    request: list[Message]
    prompt: list[Message]
    payload: dict[str, Any]
    rewrites: list[tuple[bytes, bytes]]
    values: list[Value]
    recalled: list[Recalled]
    created_at: float

    @property
    def adapter_version(self) -> int:
        """The version that answers; 0 is the base model."""
        return self.lease.version if self.lease else 0

    @property
    def personalized(self) -> str:
        """``none``, ``retrieval``, ``adapter`` or ``retrieval+adapter``: what was really applied."""
        applied = [name for name, used in (("retrieval", self.recalled), ("adapter", self.adapter_version)) if used]
        return "+".join(applied) or "none"

    @property
    def attune(self) -> bytes:
        """The ``attune`` object of the response."""
        told = {
            "values": [value.model_dump() for value in self.values],
            "preferences": self.preferences,
            "adapter_version": self.adapter_version,
            "personalized": self.personalized,
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    @property
    def preferences(self) -> list[dict[str, Any]]:
        """The recalled preferences, in the order of the prompt."""
        return [{"id": p.id, "text": p.text, "score": round(p.score, 4)} for p in self.recalled]


class Assistant:
    """Answers requests for a generation. One for the whole server; holds no state of any request."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        engines: Engines,
        recall: Recall,
        secret: bytes,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._database = database
        self._engines = engines
        self._recall = recall
        self._secret = secret
        self._metrics = metrics

    async def answer(self, caller: Caller, body: GenerationRequest) -> bytes:
        """A whole completion with its ``attune`` object; the turn is stored before it is returned."""
        started = time.perf_counter()
        plan, answered = await self._send(caller, body, self._complete)
        try:
            if plan.store_for is not None:
                await self._record(plan, body.transcript(json.loads(answered)), partial=False)
            for said, told in plan.rewrites:
                answered = answered.replace(said, told)
            return with_attune(answered, plan.attune)
        finally:
            self._release(plan)
            self._metrics.took("whole", time.perf_counter() - started)

    async def stream(self, caller: Caller, body: GenerationRequest) -> Relay:
        """A streamed completion under way. The caller must close it."""
        started = time.perf_counter()
        plan, upstream = await self._send(caller, body, self._stream)

        async def record(events: list[dict[str, Any]], partial: bool) -> None:
            await self._record(plan, body.transcript_of(events), partial=partial)

        def release() -> None:
            self._release(plan)
            if upstream.first_byte_seconds is not None:
                self._metrics.took("engine", upstream.first_byte_seconds)
            self._metrics.took("whole", time.perf_counter() - started)

        return Relay(
            upstream,
            events=body.events(),
            attune=plan.attune,
            rewrites=plan.rewrites,
            wants_usage=body.wants_usage,
            record=record if plan.store_for else None,
            release=release,
        )

    async def _complete(self, engine: Engine, path: str, payload: dict[str, Any]) -> bytes:
        with self._metrics.stage("engine"):
            return await engine.complete(path, payload)

    async def _stream(self, engine: Engine, path: str, payload: dict[str, Any]) -> EngineStream:
        with self._metrics.tracing.span("engine"):
            return await engine.stream(path, payload)

    async def _send(self, caller: Caller, body: GenerationRequest, call: Call[T]) -> tuple[Plan, T]:
        body.check(self._settings, await self._engines.model())
        *first, last = self._engines.order(caller.owner)
        for place in first:
            try:
                return await self._send_to(place, caller, body, call)
            except EngineFailed:
                raise  # a request that one engine cannot bear is not tried on all
            except EngineUnavailable as error:
                log.info("%s did not answer, another engine is asked: %s", place.name, error.message)
        return await self._send_to(last, caller, body, call)

    async def _send_to(self, place: Place, caller: Caller, body: GenerationRequest, call: Call[T]) -> tuple[Plan, T]:
        try:
            await self._engines.check(place)
        except EngineUnavailable:
            self._engines.avoid(place)
            raise
        plan = await self._plan(place, caller, body)
        try:
            return plan, await self._call(plan, body, call)
        except AdapterGone:
            self._release(plan)
            if not plan.adapter_version:
                raise
            # A remote engine restarted without telling us, or another server on it unloaded this one.
            await place.registry.reconcile()
            plan = await self._plan(place, caller, body)
            try:
                return plan, await self._call(plan, body, call)
            except BaseException:
                self._release(plan)
                raise
        except BaseException:
            self._release(plan)
            raise

    async def _call(self, plan: Plan, body: GenerationRequest, call: Call[T]) -> T:
        try:
            return await call(plan.place.engine, body.path, plan.payload)
        except EngineUnavailable:
            self._engines.avoid(plan.place)
            raise

    async def _plan(self, place: Place, caller: Caller, body: GenerationRequest) -> Plan:
        wish, created_at = body.attune, time.time()
        user = await self._user(caller, body)
        request = body.conversation()
        lease = await self._lease(place.registry, user, wish, request, created_at)
        try:
            values = merge_values(list(user.standing_values) if user else [], wish.values)
            recalled = await self._recalled(user, lease, request, wish)
            composed = body.compose(values, [p.text for p in recalled], system_role=self._settings.system_role)
            model = lease.name if lease and lease.name else place.engine.base_model
            # Inside a JSON string these quotes would be escaped: no text can look like this member.
            told = [(_model_member(model), _model_member(body.model))] if model != body.model else []
            return Plan(
                place=place,
                store_for=user if body.stores else None,
                lease=lease,
                request=request,
                prompt=composed.prompt,
                payload=body.payload(composed, model=model, cache_salt=self._salt(caller.tenant)),
                rewrites=[*told, *body.rewrites(composed)],
                values=values,
                recalled=recalled,
                created_at=created_at,
            )
        except BaseException:
            if lease:
                place.registry.release(lease)
            raise

    async def _user(self, caller: Caller, body: GenerationRequest) -> User | None:
        owner, wish = caller.owner, body.attune
        if owner is None or wish.personalize == "off":
            if wish.adapter_version:
                raise Invalid("An adapter version needs a user (X-User-Id).", param="attune.adapter_version")
            return None
        with self._metrics.stage("load_user"):
            user = await self._database.look_up(users.get, owner)
            # A user is made before the answer, so that one erased during it is not made anew by its turn.
            return await self._database.write(users.ensure, owner) if user is None and body.stores else user

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
        context = last_user_text(request)
        k = self._settings.recall_k if wish.k is None else wish.k
        if user is None or wish.personalize == "adapter" or not context or k == 0:
            return []
        # The gate found such an adapter best alone: it knows what was learned before it was trained.
        alone = wish.personalize == "auto" and lease is not None and lease.version and lease.mode == "adapter"
        since = lease.learned_through if alone and lease else 0.0
        with self._metrics.stage("recall"):
            return await self._recall.recall(user, context, k=k, since=since)

    async def _record(self, plan: Plan, transcript: Transcript, *, partial: bool) -> None:
        if plan.store_for is None or not transcript.completion_id:
            return
        turn = Turn(
            completion_id=transcript.completion_id,
            created_at=plan.created_at,
            model=plan.place.engine.base_model,
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
        )
        with self._metrics.stage("record"):
            await self._database.jot(_record_unless_erased, plan.store_for, turn)

    def _release(self, plan: Plan) -> None:
        if plan.lease:
            plan.place.registry.release(plan.lease)

    def _salt(self, tenant: str) -> str:
        return hmac.new(self._secret, tenant.encode(), hashlib.sha256).hexdigest()


def _record_unless_erased(c: Connection | Shortcut, user: User, turn: Turn) -> None:
    with suppress(NotFound):
        turns.record(c, user.owner, turn, user.opaque_id)


def _model_member(model: str) -> bytes:
    return f'"model":{json.dumps(model)}'.encode()
