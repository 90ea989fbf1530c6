"""Whose request it is: the API key gives the tenant, a header or the body gives the user."""

import hashlib
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cachetools import TTLCache
from sqlalchemy import Connection

from preference.normal import nfc
from server.admission.session import unseal
from server.errors import StartRefused, Unauthorized
from store import keys, tokens
from store.database import Database
from store.errors import Invalid
from store.keys import Key
from store.owner import Owner
from store.tokens import Scope, Token

LOCAL_KEY = Key(id="local", tenant="local", name="no key", created_at=0.0)
USER_LIMIT = 256
_CACHE_SECONDS = 1.0  # how long a revoked key may still be honoured


@dataclass(frozen=True)
class Caller:
    """A tenant, and the end user it speaks for, if any."""

    tenant: str
    user: str | None
    key: Key = LOCAL_KEY

    @property
    def owner(self) -> Owner | None:
        """The scope of everything known about the user; ``None`` without a user."""
        return Owner(self.tenant, self.user) if self.user is not None else None


@dataclass(frozen=True)
class UserKey(Key):
    """What a token of one user is to the limits; and whom, and in what, it speaks for."""

    user: str = ""
    scopes: tuple[Scope, ...] = ()
    made_by: str = ""
    """The id of the API key that made it, which it spends the tokens of."""


class Identity:
    """Looks up API keys, remembering a good one for a second."""

    def __init__(self, database: Database, *, loopback: bool) -> None:
        self._database = database
        self._loopback = loopback
        self._open = False
        self._open_checked = 0.0
        self._known: TTLCache[bytes, Key] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)
        self._unknown: TTLCache[bytes, None] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)
        self._tokens: TTLCache[bytes, tuple[Token, Key]] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)
        self._sessions: TTLCache[bytes, Key] = TTLCache(maxsize=10_000, ttl=_CACHE_SECONDS)

    async def start(self) -> bool:
        """Decide whether requests without a key are let in (True); raises ``StartRefused`` where that is unsafe.

        They are until the first key is made, and never again.
        """
        self._open = not await self._database.read(keys.any_ever)
        if self._open and not self._loopback:
            raise StartRefused(
                "No API key exists and ATTUNE_HOST is not a loopback address: create a key with `attune keys create`, "
                "or set ATTUNE_HOST=127.0.0.1."
            )
        self._open_checked = time.monotonic()
        return self._open

    async def key(
        self,
        authorization: str | None,
        x_api_key: str | None,
        client: tuple[str, int] | None,
        host: str | None = None,
        origin: str | None = None,
        session: str | None = None,
    ) -> Key:
        """The key in ``Authorization: Bearer``, else in ``x-api-key``, else in a browser's session. ``Unauthorized``.

        ``client`` is the caller's address as ASGI has it, ``host`` and ``origin`` are headers. Without any key only
        this machine is let in, and no page of another one that is open in a browser here. ``session`` is the cookie of
        a page of ours.
        """
        if self._open and time.monotonic() - self._open_checked > _CACHE_SECONDS:
            self._open = not await self._database.read(keys.any_ever)
            self._open_checked = time.monotonic()
        plain = _plain(authorization, x_api_key)
        if self._open and not is_local(client):  # whatever address an ASGI server of somebody's own listens on
            raise Unauthorized("No API key exists, so only this machine is served: see `attune keys create`.")
        if not plain and session is not None and (found := await self._of_session(session)) is not None:
            return found
        if plain.startswith(tokens.PREFIX):
            return await self._token(plain)
        if self._open:
            if not is_loopback_host(host) or not (origin is None or _is_loopback_origin(origin)):
                raise Unauthorized(
                    "No API key exists, so only localhost is served, and no page of another site: "
                    "see `attune keys create`."
                )
            return LOCAL_KEY
        if not plain:
            raise Unauthorized("Send your API key in the header Authorization: Bearer <key>, or in x-api-key.")
        digest = hashlib.sha256(plain.encode()).digest()  # so that a memory dump shows no keys
        known = self._known.get(digest)
        if known is None:
            known = None if digest in self._unknown else await self._database.read(keys.find, plain)
            if known is None:
                self._unknown[digest] = None
                raise Unauthorized("The API key is unknown or revoked.")
            self._known[digest] = known
        return known

    async def _of_session(self, session: str) -> Key | None:
        """Whose session it is. Raises ``Unauthorized`` when it has ended; None where none is needed."""
        digest = hashlib.sha256(session.encode(errors="surrogatepass")).digest()
        found = self._sessions.get(digest)
        if found is None:
            plain = await unseal(self._database, session)
            if plain is None:
                if self._open:  # another server's of this machine: a browser tells ports not apart
                    return None
                raise Unauthorized("You are signed in no more: sign in again.")
            found = self._sessions[digest] = await self.key(f"Bearer {plain}", None, None)
        return found

    async def _token(self, plain: str) -> Key:
        """The key that a token of one user is: with the limits of all tokens of that user together.

        What its answers take is spent from the key that made it.
        """
        digest = hashlib.sha256(plain.encode(errors="surrogatepass")).digest()
        found = self._tokens.get(digest)
        if found is None or found[0].expires_at <= time.time():
            found = None
            if digest not in self._unknown:
                found = await self._database.read(_token_and_maker, plain, open=self._open)
            if found is None:
                self._unknown[digest] = None
                raise Unauthorized("The token is unknown, revoked or expired.")
            self._tokens[digest] = found
        token, maker = found
        tenant, user = token.owner.tenant, token.owner.user
        return UserKey(
            f"{tenant}\0{user}",
            tenant,
            "token",
            token.created_at,
            tokens_per_minute=maker.tokens_per_minute,
            tokens_per_day=maker.tokens_per_day,
            user=user,
            scopes=token.scopes,
            made_by=maker.id,
        )


def _token_and_maker(c: Connection, plain: str, *, open: bool) -> tuple[Token, Key] | None:
    token = tokens.find(c, plain, open=open)
    return None if token is None else (token, keys.get(c, token.key_id) or LOCAL_KEY)


def _plain(authorization: str | None, x_api_key: str | None) -> str:
    """The key or token of these headers; empty without one."""
    scheme, _, plain = (authorization or "").partition(" ")
    return (plain if scheme.lower() == "bearer" else x_api_key or "").strip()


def is_local(client: tuple[str, int] | None) -> bool:
    """Whether a caller is on this machine; one without an address came through a Unix socket."""
    try:
        return client is None or ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def is_loopback_host(host: str | None) -> bool:
    """Whether ``Host`` names this machine. A name of somebody's own may lead a browser here (DNS rebinding)."""
    return host is None or _is_loopback_origin(f"http://{host}")  # who sends none is no browser


def _is_loopback_origin(origin: str) -> bool:
    try:
        name = urlsplit(origin).hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def user_of(header: str | None, body: Mapping[str, Any]) -> str | None:
    """The user: ``X-User-Id``, or ``safety_identifier``, ``user`` or ``metadata.user_id`` of the body.

    Raises ``Invalid`` where they differ: whichever won, a mistake would be stored as somebody else's.
    """
    candidates = {
        "X-User-Id": header,
        "safety_identifier": body.get("safety_identifier"),
        "user": body.get("user"),
        "metadata.user_id": (body.get("metadata") or {}).get("user_id"),
    }
    named = {param: checked_user(user, param) for param, user in candidates.items() if user}
    if len(set(named.values())) > 1:
        first, *others = named
        other = next(param for param in others if named[param] != named[first])
        raise Invalid(f"{first} and {other} name two users: send one of them, or the same in both.", param=other)
    return next(iter(named.values()), None)


def checked_user(user: str, param: str) -> str:
    """``user`` as it is stored: without spaces around it, in NFC. Raises ``Invalid``: empty, too long, not printable.

    A header's value ends before the spaces behind it (RFC 9110), and one name typed on two systems is one user.
    """
    user = user.strip()
    if not user:
        raise Invalid("The user id must not be empty.", param=param)
    if len(user) > USER_LIMIT:
        raise Invalid(f"The user id may have {USER_LIMIT} characters at most.", param=param)
    if not user.isprintable():
        hidden = next(character for character in user if not character.isprintable())
        raise Invalid(f"The user id must be printable, and U+{ord(hidden):04X} is not.", param=param)
    user = nfc(user)
    if len(user) > USER_LIMIT:  # a few characters are longer so
        raise Invalid(f"The user id may have {USER_LIMIT} characters at most, in NFC.", param=param)
    return user
