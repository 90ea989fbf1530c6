"""Any number of engines behind somebody else's router: it picks one for each request, our plugin in it does the rest.

Nothing is loaded from here. An engine that is asked for a version that it does not have brings it from the store
(`resolver.py`), so the one that a user is sent to is warmed by asking for it. What is to be gone is told to each
engine by itself.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from adapters.artifacts.names import user_of
from server.engine.client import Engine
from server.engine.endpoints import Endpoints
from server.engine.refusals import AdapterGone
from store.errors import AttuneError, EngineUnavailable, NotFound
from store.message import Message

log = logging.getLogger(__name__)
T = TypeVar("T")
MARK = "attune"
"""What our plugin adds to the served model in an engine's list of models."""
SESSION = "X-Session-ID"
"""By which a router finds the same engine again."""
_WARM: tuple[Message, ...] = ({"role": "user", "content": "Hello"},)
_AT_ONCE = 32
_KNOWN = 4096
"""Engines that are remembered: beyond, those that are listed no longer are let go."""


class Router(Engine):
    """An ``Engine`` whose URL is a router's. ``secret`` makes users' opaque ids into what the router sees of them."""

    def __init__(self, url: str, *, endpoints: Endpoints, secret: bytes, **as_engine: Any) -> None:
        super().__init__(url, **as_engine)
        self._endpoints = endpoints
        self._secret = secret
        self._as_engine = as_engine
        self._engines: dict[str, Engine] = {}
        self._asking_at_once = asyncio.Semaphore(_AT_ONCE)

    def headers(self, payload: dict[str, Any], user: str | None) -> Mapping[str, str]:
        """With a session: the user's own, or else any."""
        name = payload.get("model", "")
        whose = user or (user_of(name) if name != self.base_model else None)
        session = self.session(whose) if whose else secrets.token_hex(16)
        return {**super().headers(payload, user), SESSION: session}

    def session(self, opaque_id: str) -> str:
        """What stands for a user before the router; the same on every server that has the secret."""
        return hmac.new(self._secret, b"session\0" + opaque_id.encode(), hashlib.sha256).hexdigest()[:32]

    async def load(self, name: str, path: Path) -> None:
        """Have the engine that this user is sent to bring the adapter. Raises ``NotFound`` when it refuses."""
        try:
            await self.generate(_WARM, max_tokens=1, model=name)
        except AdapterGone as error:
            told = "The engine does not bring this adapter version: its log says why."
            raise NotFound(told, param="version") from error

    async def unload(self, name: str) -> None:
        """Tell every engine. One that cannot be told finds out from the store (``Resolver.sweep``)."""
        try:
            for error in await self._each(lambda engine: engine.unload(name)):
                if isinstance(error, AttuneError):
                    log.warning("an engine was not told to unload %s: %s", name, error.message)
        except EngineUnavailable as error:
            log.warning("the engines were not told to unload %s: %s", name, error.message)

    async def purge(self, chosen: Callable[[str], bool]) -> None:
        """Every engine, one by one. Raises ``EngineUnavailable`` unless each has answered."""
        _all(await self._each(lambda engine: engine.purge(chosen)))

    async def loaded(self) -> set[str]:
        """What any engine has. Raises ``EngineUnavailable`` unless each has answered."""
        return set[str]().union(*_all(await self._each(lambda engine: engine.loaded())))

    async def ready(self) -> bool:
        """True when the router lists the model: its own health says whether all engines are well."""
        try:
            served = [model["id"] for model in await self.models() if not model.get("parent")]
        except AttuneError:
            return False
        self.base_model = self.base_model or next(iter(served), "")
        return bool(served)

    async def strangers(self, base: str | None) -> list[str]:
        """What is wrong with engines that answer, in sentences. ``base`` is the hash of the model to be served."""

        async def look(engine: Engine) -> str:
            (model, *_) = [one for one in await engine.models() if not one.get("parent")] or [{"id": "no model"}]
            mark = model.get(MARK)
            if not isinstance(mark, dict):
                return (
                    "runs without Attune's plugin, or without ATTUNE_ADAPTER_STORE, and would bring no adapters "
                    "(docs/scale.md, Router mode)"
                )
            if self.base_model and model["id"] != self.base_model:
                return f"serves {model['id']!r}, not {self.base_model!r}"
            if base and mark.get("base_sha256") not in (None, base):
                return "serves other weights than ATTUNE_MODEL has"
            return ""

        urls = await self._endpoints.urls()
        looked = await self._each(look, urls)
        return [f"{url} {told}" for url, told in zip(urls, looked, strict=True) if isinstance(told, str) and told]

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(super().close(), *(engine.close() for engine in self._engines.values()))

    async def _each(
        self, ask: Callable[[Engine], Awaitable[T]], urls: Sequence[str] | None = None
    ) -> list[T | AttuneError]:
        """What each engine, or those of ``urls``, says, or its error.

        Raises ``EngineUnavailable`` where they cannot be listed.
        """
        urls = await self._endpoints.urls() if urls is None else urls
        for gone in [url for url in self._engines if url not in urls] if len(self._engines) > _KNOWN else ():
            await self._engines.pop(gone).close()

        async def one(url: str) -> T | AttuneError:
            engine = self._engines.get(url) or self._engines.setdefault(url, Engine(url, **self._as_engine))
            async with self._asking_at_once:
                try:
                    return await ask(engine)
                except AttuneError as error:
                    return error

        return list(await asyncio.gather(*map(one, urls)))


def _all(told: list[T | AttuneError]) -> list[T]:
    """What all have said; raises the first error."""
    for error in told:
        if isinstance(error, AttuneError):
            raise EngineUnavailable(f"Not every engine has answered: {error.message}") from error
    return [one for one in told if not isinstance(one, AttuneError)]
