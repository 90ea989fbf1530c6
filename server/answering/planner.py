"""Requests made personal: user → adapter → recall → compose, within the engine's room and the user's limits."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from adapters.evaluation.canary import dealt
from adapters.lifecycle import versions
from adapters.registry.entries import Lease
from adapters.registry.registry import Registry
from preference.feedback import outcomes
from preference.prior import Prior
from preference.recall.index import Recalled
from preference.recall.kind import asked
from preference.recall.recall import Recall
from preference.values import merge_values
from server.admission.identity import Caller
from server.admission.limits import Limits, Pass
from server.admission.storage_quota import Quota
from server.answering.plan import Plan
from server.answering.room import Room, bound
from server.dialects.events import Rewrite
from server.dialects.generation import Attune, Composed, GenerationRequest
from server.engine.pool import Replica
from server.observability.metrics import Metrics
from server.settings import Settings
from store import users
from store.database import Database
from store.errors import Invalid, NotFound
from store.message import Message
from store.users import User


class Planner:
    """Plans requests. One for the whole server; holds no state of any request."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        recall: Recall,
        secret: bytes,
        metrics: Metrics,
        quota: Quota,
        limits: Limits,
        system_role: bool,
        prior: Prior,
    ) -> None:
        self._settings = settings
        self._database = database
        self._recall = recall
        self._room = Room()
        self._secret = secret
        self._metrics = metrics
        self._quota = quota
        self._limits = limits
        self._system_role = system_role
        self._prior = prior

    @asynccontextmanager
    async def planned(
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
        user = await self.user(caller, body)
        store_for = user if user and body.stores and not user.paused else None
        request = body.conversation()
        if user and self._is_control(user, wish, request, created_at):
            wish = wish.model_copy(update={"personalize": "retrieval", "k": 0})
        lease = await self._lease(replica.registry, user, wish, request, created_at)
        if lease:
            held.callback(replica.registry.release, lease)
        values = merge_values(list(user.standing_values) if user else [], wish.values)
        if store_for and wish.k != 0 and wish.personalize != "adapter":
            user = await self._prior.welcome(store_for, request)
        recalled = await self.recalled(user, lease, request, wish)
        model = lease.name if lease and lease.name else replica.engine.base_model
        salt = hmac.new(self._secret, caller.tenant.encode(), hashlib.sha256).hexdigest()
        kept = recalled[:most]

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
            set_aside=set_aside,
            user=user,
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

    def _is_control(self, user: User, wish: Attune, request: list[Message], at: float) -> bool:
        """Whether this conversation is one of those that are left unpersonalised, unless it says how it is to be."""
        share = self._settings.control_share
        if not share or user.paused or wish.personalize != "auto" or wish.adapter_version is not None:
            return False
        opening = next((message for message in request if message["role"] == "user"), None)
        return outcomes.is_control(user.opaque_id, json.dumps(opening, sort_keys=True), share, at)

    async def user(self, caller: Caller, body: GenerationRequest) -> User | None:
        """The user whose request it is, made if missing; None where nothing is to be personal. Raises ``Invalid``."""
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

    async def recalled(
        self, user: User | None, lease: Lease | None, request: list[Message], wish: Attune
    ) -> list[Recalled]:
        """The preferences that apply, unless the request or the adapter does without."""
        k = self._settings.recall_k if wish.k is None else wish.k
        if user is None or wish.personalize == "adapter" or k == 0 or not asked(request):
            return []
        # The gate found such an adapter best alone: it knows what was learned before it was trained.
        alone = wish.personalize == "auto" and lease is not None and lease.version and lease.mode == "adapter"
        since = lease.learned_through if alone and lease else 0.0
        with self._metrics.stage("recall"):
            return await self._recall.recall(user, request, k=k, since=since)
