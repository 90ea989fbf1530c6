"""Rows of ``user_tokens``: what speaks for one user, for a while, in some things. Only SHA-256 digests are stored."""

import hmac
import secrets
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select

from store import users
from store.errors import Conflict, NotFound
from store.owner import Owner
from store.rows import findable, key, scope, sha256
from store.tables import api_keys, user_tokens

Scope = Literal["chat", "feedback", "data", "erase"]

PREFIX = "attu-"
MAX_TOKENS = 100
"""Of a user, that have not expired."""


@dataclass(frozen=True)
class Token:
    """A token without its secret. It ends at ``expires_at``, with the API key that made it, or with its user."""

    owner: Owner
    id: str
    key_id: str
    scopes: tuple[Scope, ...]
    created_at: float
    expires_at: float


def create(c: Connection, owner: Owner, key_id: str, scopes: Sequence[Scope], seconds: float) -> tuple[Token, str]:
    """A new token of the user, and the plain one, which is shown this once. Raises ``Conflict`` at ``MAX_TOKENS``."""
    users.lock(c, owner)
    now = time.time()
    c.execute(delete(user_tokens).where(scope(user_tokens, owner), user_tokens.c.expires_at <= now))
    held = select(func.count()).select_from(user_tokens).where(scope(user_tokens, owner))
    if c.execute(held).scalar_one() >= MAX_TOKENS:
        raise Conflict(f"this user has {MAX_TOKENS} tokens; let some expire, or revoke them", param="user")
    plain = f"{PREFIX}{secrets.token_urlsafe(32)}"
    made = Token(owner, f"tok-{uuid.uuid4().hex[:24]}", key_id, tuple(sorted(set(scopes))), now, now + seconds)
    values = {name: value for name, value in vars(made).items() if name != "owner"}
    c.execute(insert(user_tokens).values(**key(owner), **values, sha256=sha256(plain)))
    return made, plain


def find(c: Connection, plain: str, *, open: bool) -> Token | None:
    """The token that ``plain`` is, or None. ``open`` says that no API key exists: then one was made without."""
    digest, alive = sha256(plain), select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None))
    made_by: ColumnElement[bool] = user_tokens.c.key_id.in_(alive)
    if open:
        made_by = or_(made_by, user_tokens.c.key_id == "local")
    query = select(user_tokens).where(user_tokens.c.sha256 == digest, user_tokens.c.expires_at > time.time())
    row = c.execute(query.where(made_by)).first()
    return _token(row) if row is not None and hmac.compare_digest(row.sha256, digest) else None


def digest(c: Connection, owner: Owner, id: str) -> str | None:
    """The SHA-256 of the user's token ``id``, in hex, or None: unknown or expired."""
    this = and_(scope(user_tokens, owner), user_tokens.c.id == id, user_tokens.c.expires_at > time.time())
    return c.execute(select(user_tokens.c.sha256).where(this)).scalar() if findable(id) else None


def all_of(c: Connection, owner: Owner, *, expired: bool = False) -> list[Token]:
    """The user's tokens that have not expired, oldest first; with ``expired`` those that are held still, too."""
    query = select(user_tokens).where(scope(user_tokens, owner))
    query = query if expired else query.where(user_tokens.c.expires_at > time.time())
    return [_token(row) for row in c.execute(query.order_by(user_tokens.c.created_at))]


def revoke(c: Connection, owner: Owner, id: str) -> None:
    """End a token. Raises ``NotFound``."""
    this = delete(user_tokens).where(scope(user_tokens, owner), user_tokens.c.id == id)
    if not findable(id) or c.execute(this).rowcount == 0:
        raise NotFound(f"there is no token {id!r} of this user", param="id")


def prune(c: Connection, before: float) -> None:
    """Forget those that expired before."""
    c.execute(delete(user_tokens).where(user_tokens.c.expires_at < before))


def _token(row: Row[Any]) -> Token:
    owner = Owner(row.tenant_id, row.user_id)
    return Token(owner, row.id, row.key_id, tuple(row.scopes), row.created_at, row.expires_at)
