"""Whose data it is: every query, index, adapter and cache entry is scoped by an ``Owner``."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Owner:
    """An end user of a tenant. ``tenant`` owns the API key; ``user`` is the caller's own identifier."""

    tenant: str
    user: str
