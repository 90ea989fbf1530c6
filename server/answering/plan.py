"""One request made personal."""

from dataclasses import dataclass
from typing import Any

from adapters.registry.entries import Lease
from preference.recall.index import Recalled
from server.admission.limits import Pass
from server.dialects.events import Rewrite
from server.engine.pool import Replica
from store.message import Message
from store.users import User
from store.values import Value


@dataclass(frozen=True)
class Plan:
    """One request made personal: what which engine gets, why, and for whom the turn is stored (``None``: nobody)."""

    replica: Replica
    store_for: User | None
    lease: Lease | None
    request: list[Message]
    prompt: list[Message]
    payload: dict[str, Any]
    rewrites: list[Rewrite]
    values: list[Value]
    recalled: list[Recalled]
    left_out: int
    created_at: float
    client_id: str | None = None
    set_aside: Pass | None = None
    user: User | None = None

    @property
    def adapter_version(self) -> int:
        """The version that answers; 0 is the base model."""
        return self.lease.version if self.lease else 0

    @property
    def personalized(self) -> str:
        """``none``, ``retrieval``, ``adapter`` or ``retrieval+adapter``: what was really applied."""
        applied = [name for name, used in (("retrieval", self.recalled), ("adapter", self.adapter_version)) if used]
        return "+".join(applied) or "none"

    @property
    def attune(self) -> dict[str, Any]:
        """The ``attune`` object of the response."""
        return {
            "values": [value.model_dump() for value in self.values],
            "preferences": self.preferences,
            "adapter_version": self.adapter_version,
            "personalized": self.personalized,
            **({"preferences_left_out": self.left_out} if self.left_out else {}),
        }

    @property
    def preferences(self) -> list[dict[str, Any]]:
        """The recalled preferences, in the order of the prompt."""
        return [{"id": p.id, "text": p.text, "score": round(p.score, 4)} for p in self.recalled]
