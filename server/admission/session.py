"""A signed-in browser: its key or token, sealed in a cookie, and whether a request comes from a page of ours.

No process keeps anything. The seal's secret is derived from the hash that the store has of the key: any server on the
same store opens it, the cookie alone tells no key, and the store alone makes no cookie.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import cookie_parser

from store import keys, tokens
from store.database import Database
from store.errors import Invalid
from store.keys import Key
from store.owner import Owner
from store.tokens import Token

COOKIE = "attune_session"
SECONDS = 12 * 3600
"""How long a browser stays signed in; a token may end sooner."""
_LONGEST = 4096


def seal(held: Key | Token, plain: str) -> str:
    """The cookie's value for the key or token ``plain`` whose row is ``held``."""
    owner = (held.owner.tenant, held.owner.user) if isinstance(held, Token) else ()
    name = base64.urlsafe_b64encode(json.dumps([held.id, *owner]).encode()).decode()
    return f"{name}.{_seal_of(hashlib.sha256(plain.encode()).hexdigest()).encrypt(plain.encode()).decode()}"


async def unseal(database: Database, sealed: str) -> str | None:
    """The key or token; None where the cookie is not ours or too old, or its key is revoked."""
    name, _, box = sealed.partition(".")
    if len(sealed) > _LONGEST:
        return None
    try:
        id, *owner = json.loads(base64.urlsafe_b64decode(name))
        row = (tokens.digest, Owner(*owner), id) if owner else (keys.digest, id)
        held = await database.read(*row)
        return None if held is None else _seal_of(held).decrypt(box.encode(), ttl=SECONDS).decode()
    except (InvalidToken, ValueError, TypeError, AttributeError, RecursionError, Invalid):
        return None


def sealed_in(headers: Mapping[str, str]) -> str | None:
    """The session of a request, where it comes from a page of this very server: no other site's may use it."""
    if COOKIE not in headers.get("cookie", "") or not is_same_origin(headers):
        return None
    return cookie_parser(headers["cookie"]).get(COOKIE) or None


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of this very origin asks.

    ``Sec-Fetch-Site`` says it where pages are served by TLS or on this machine; elsewhere ``Origin`` or ``Referer``.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    named = headers.get("origin") or headers.get("referer")
    try:
        return named is not None and urlsplit(named).netloc.lower() == headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _seal_of(sha256: str) -> Fernet:
    secret = hashlib.sha256(b"attune session\0" + sha256.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(secret))
