"""Whose request it is: the API key gives the tenant, a header or the body gives the user."""

import hashlib
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import TTLCache

from preference import keys
from preference.database import Database
from preference.errors import Invalid
from preference.keys import Key
from preference.owner import Owner
from server.errors import StartRefused, Unauthorized

LOCAL_KEY = Key(id="local", tenant="local", name="no key", created_at=0.0)
USER_LIMIT = 256
_CACHE_SECONDS = 1.0  # how long a revoked key may still be honoured


@dataclass(frozen=True)
class Caller:
    """A tenant, and the end user it speaks for, if any."""

    tenant: str
    user: str | None

    @property
    def owner(self) -> Owner | None:
        """The scope of everything known about the user; ``None`` without a user."""
        return Owner(self.tenant, self.user) if self.user is not None else None


class Identity:
    """Looks up API keys, remembering a good one for a second."""

    def __init__(self, database: Database, *, loopback: bool) -> None:
        self._database = database
        self._loopback = loopback
        self._open = False
        self._open_checked = 0.0
        self._known: TTLCache[bytes, Key] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)
        self._unknown: TTLCache[bytes, None] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)

    async def start(self) -> bool:
        """Decide whether requests without a key are let in (True); raises ``StartRefused`` where that is unsafe.

        Once a key appears the server asks for keys until it is started again: revoking the last one never opens it.
        """
        self._open = not await self._database.read(keys.any_active)
        if self._open and not self._loopback:
            raise StartRefused(
                "No API key exists and ATTUNE_HOST is not a loopback address: create a key with `attune keys create`, "
                "or set ATTUNE_HOST=127.0.0.1."
            )
        self._open_checked = time.monotonic()
        return self._open

    async def key(self, authorization: str | None, x_api_key: str | None, client: tuple[str, int] | None) -> Key:
        """The key in ``Authorization: Bearer``, else in ``x-api-key``. Raises ``Unauthorized``.

        ``client`` is the caller's address as ASGI has it; without any key, only this machine is let in.
        """
        if self._open and time.monotonic() - self._open_checked > _CACHE_SECONDS:
            self._open = not await self._database.read(keys.any_active)
            self._open_checked = time.monotonic()
        if self._open:
            if not _is_local(client):  # whatever address an ASGI server of somebody's own listens on
                raise Unauthorized("No API key exists, so only this machine is served: see `attune keys create`.")
            return LOCAL_KEY
        scheme, _, plain = (authorization or "").partition(" ")
        plain = (plain if scheme.lower() == "bearer" else x_api_key or "").strip()
        if not plain:
            raise Unauthorized("Send your API key in the header Authorization: Bearer <key>, or in x-api-key.")
        digest = hashlib.sha256(plain.encode()).digest()  # so that a memory dump shows no keys
        found = self._known.get(digest)
        if found is None:
            found = None if digest in self._unknown else await self._database.read(keys.find, plain)
            if found is None:
                self._unknown[digest] = None
                raise Unauthorized("The API key is unknown or revoked.")
            self._known[digest] = found
        return found


def _is_local(client: tuple[str, int] | None) -> bool:
    """Whether a caller is on this machine; one without an address came through a Unix socket."""
    try:
        return client is None or ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def user_of(header: str | None, body: Mapping[str, Any]) -> str | None:
    """The user: ``X-User-Id``, else ``safety_identifier``, ``user`` or ``metadata.user_id`` of the body."""
    candidates = {
        "X-User-Id": header,
        "safety_identifier": body.get("safety_identifier"),
        "user": body.get("user"),
        "metadata.user_id": (body.get("metadata") or {}).get("user_id"),
    }
    for param, user in candidates.items():
        if user:
            return checked_user(user, param)
    return None


def checked_user(user: str, param: str) -> str:
    """``user`` itself, or ``Invalid`` when it is empty, too long or not printable."""
    if not user.strip():
        raise Invalid("The user id must not be empty.", param=param)
    if len(user) > USER_LIMIT:
        raise Invalid(f"The user id may have {USER_LIMIT} characters at most.", param=param)
    if not user.isprintable():
        raise Invalid("The user id must be printable.", param=param)
    return user
