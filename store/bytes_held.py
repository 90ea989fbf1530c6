"""How many bytes are kept for a tenant, about: what grows with each request is counted as it is stored."""

import json
from typing import Any

from sqlalchemy import Connection, Text, cast, func, select

from store.tables import adapters, contexts, feedback, preferences, turns, users

ROW = 512
"""What a row takes beside its texts, its part of the indexes included."""
_CONTEXT, _PREFERENCE = 4096, 1024
"""What a context with its vector takes at most, and a preference usually; users may have few of either."""


def size(*values: Any) -> int:
    """Bytes of a row with these values of JSON, about."""
    return ROW + sum(map(_size, values))


def held(c: Connection, tenant: str) -> int:
    """Bytes kept for all users of a tenant: turns, feedback, adapters' files, preferences and values."""
    counted = (
        select(func.sum(turns.c.bytes)).where(turns.c.tenant_id == tenant),
        select(func.sum(feedback.c.bytes)).where(feedback.c.tenant_id == tenant),
        select(func.sum(adapters.c.bytes)).where(adapters.c.tenant_id == tenant, adapters.c.state == "ready"),
        select(func.count() * _CONTEXT).select_from(contexts).where(contexts.c.tenant_id == tenant),
        select(func.count() * _PREFERENCE).select_from(preferences).where(preferences.c.tenant_id == tenant),
        select(func.sum(ROW + func.length(cast(users.c.standing_values, Text)))).where(users.c.tenant_id == tenant),
    )
    total = 0
    for one in counted:
        total += int(c.execute(one).scalar() or 0)
    return total


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(json.dumps(value))  # as it is stored: six bytes, \uXXXX
    if isinstance(value, dict):
        return sum(len(name) + 6 + _size(one) for name, one in value.items())
    return sum(map(_size, value)) + len(value) if isinstance(value, list | tuple) else 8
