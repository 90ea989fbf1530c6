"""What the registry holds of a user: the adapters in the engine, and the leases of requests on them."""

import asyncio
from dataclasses import dataclass, field

from adapters.artifacts.names import user_of
from adapters.lifecycle.versions import Version
from store.errors import EngineUnavailable
from store.owner import Owner


class StillAnswering(EngineUnavailable):
    """A request has held an adapter that is to go for longer than it is waited for: the files must stay."""


@dataclass(eq=False)
class LoadedAdapter:
    """One adapter in the engine, and how many requests hold it."""

    owner: Owner
    version: Version
    name: str
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Entry:
    """One user's adapters. ``lock`` orders loading and unloading; ``holders`` have it or wait for it.

    ``loading`` is the opaque id of the user whose adapter is being loaded, or is to be; one erased and made anew has
    another. ``takes_slot`` once it is its turn.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0
    loading: str = ""
    takes_slot: bool = False
    adapters: dict[str, LoadedAdapter] = field(default_factory=dict)  # by name
    current: LoadedAdapter | None = None
    canary: LoadedAdapter | None = None

    @property
    def evictable(self) -> bool:
        """Whether it has adapters that nobody uses, loads or unloads."""
        return bool(self.adapters) and not self.holders and not any(a.in_flight for a in self.adapters.values())

    def is_of(self, opaque_id: str) -> bool:
        """Whether it has, or is about to have, an adapter of that user."""
        return self.loading == opaque_id or any(user_of(a.name) == opaque_id for a in self.adapters.values())

    def is_idle(self, adapter: LoadedAdapter) -> bool:
        """Whether an adapter neither serves by default nor answers a request."""
        return adapter not in (self.current, self.canary) and not adapter.in_flight


@dataclass(frozen=True, eq=False)
class Lease:
    """What answers one request; hand it back with ``release``. Version 0, name None: the base model, by retrieval."""

    version: int
    name: str | None
    mode: str
    learned_through: float
    _held: LoadedAdapter | None = field(default=None, repr=False)
