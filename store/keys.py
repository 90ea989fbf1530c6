"""Rows of ``api_keys``: which tenant a bearer key speaks for. Only SHA-256 digests are stored."""

import hmac
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from store.errors import Invalid, NotFound
from store.rows import checked, findable, sha256
from store.tables import api_keys

MAX_LIMIT = 1_000_000_000
MAX_TOKENS = 1_000_000_000_000
"""Of a day."""
_WORKS = api_keys.c.revoked_at.is_(None)


@dataclass(frozen=True)
class Key:
    """An API key without its secret. ``revoked_at`` is None while it works.

    A limit that is None is the server's default; 0 is none, but for ``in_flight``.
    """

    id: str
    tenant: str
    name: str
    created_at: float
    revoked_at: float | None = None
    requests_per_minute: int | None = None
    in_flight: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None


def create(
    c: Connection,
    tenant: str,
    name: str,
    *,
    requests_per_minute: int | None = None,
    in_flight: int | None = None,
    tokens_per_minute: int | None = None,
    tokens_per_day: int | None = None,
) -> tuple[str, str]:
    """A new key of ``tenant``: its id, and the plain key, which is shown this once. Raises ``Invalid``."""
    id, plain = uuid.uuid4().hex, f"att-{secrets.token_urlsafe(32)}"
    values = {
        "tenant_id": checked(tenant, "tenant", 64),
        "id": id,
        "name": checked(name, "name", 200),
        "sha256": sha256(plain),
        "created_at": time.time(),
        "requests_per_minute": _limit(requests_per_minute, "requests_per_minute", least=0),
        "in_flight": _limit(in_flight, "in_flight", least=1),
        "tokens_per_minute": _limit(tokens_per_minute, "tokens_per_minute", least=0),
        "tokens_per_day": _limit(tokens_per_day, "tokens_per_day", least=0, most=MAX_TOKENS),
    }
    c.execute(insert(api_keys).values(values))
    return id, plain


def list_all(c: Connection) -> list[Key]:
    """Every key, revoked ones too, by tenant and age."""
    rows = c.execute(select(api_keys).order_by(api_keys.c.tenant_id, api_keys.c.created_at))
    return [_key(row) for row in rows]


def revoke(c: Connection, id: str) -> None:
    """End a key, for good. Raises ``NotFound`` for an unknown or already revoked one."""
    ended = update(api_keys).where(api_keys.c.id == id, _WORKS).values(revoked_at=time.time())
    if not findable(id) or c.execute(ended).rowcount == 0:
        raise NotFound(f"there is no working key with the id {id!r}", param="id")


def find(c: Connection, plain: str) -> Key | None:
    """The working key that ``plain`` is, or None."""
    digest = sha256(plain)
    row = c.execute(select(api_keys).where(api_keys.c.sha256 == digest, _WORKS)).first()
    # The index compares digests, not secrets: its timing tells nothing that helps to find a key.
    return _key(row) if row is not None and hmac.compare_digest(row.sha256, digest) else None


def get(c: Connection, id: str) -> Key | None:
    """The working key of this id, or None."""
    row = c.execute(select(api_keys).where(api_keys.c.id == id, _WORKS)).first() if findable(id) else None
    return None if row is None else _key(row)


def digest(c: Connection, id: str) -> str | None:
    """The SHA-256 of the working key ``id``, in hex, or None."""
    query = select(api_keys.c.sha256).where(api_keys.c.id == id, _WORKS)
    return c.execute(query).scalar() if findable(id) else None


def any_ever(c: Connection) -> bool:
    """Whether a key was ever made; a revoked one counts, so that revoking the last one opens nothing."""
    return c.execute(select(api_keys.c.id).limit(1)).first() is not None


def several_tenants(c: Connection) -> bool:
    """Whether keys of more than one tenant work."""
    ends = select(func.min(api_keys.c.tenant_id), func.max(api_keys.c.tenant_id)).where(_WORKS)
    first, last = c.execute(ends).one()
    return bool(first != last)


def _key(row: Row[Any]) -> Key:
    limits = (row.requests_per_minute, row.in_flight, row.tokens_per_minute, row.tokens_per_day)
    return Key(row.id, row.tenant_id, row.name, row.created_at, row.revoked_at, *limits)


def _limit(value: int | None, param: str, least: int, most: int = MAX_LIMIT) -> int | None:
    if value is not None and not least <= value <= most:
        raise Invalid(f"{param} must be from {least} to {most}", param=param)
    return value
