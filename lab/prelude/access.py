"""The server that is played on: one of our own, with a tenant for each user that it learns for; or a running one."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from lab.local_server import local_server
from lab.prelude.arms.feedback import OBJECTIVES
from lab.prelude.play import Chain
from lab.prelude.roster import learns_on_the_server
from preference import keys
from preference.database import Database

RETRIES = 8
"""How often a request is sent again to a busy server, within about half a minute."""
_BASELINES = "baselines"
_MANY = str(1 << 14)  # limits out of the way: the benchmark bounds its own requests


@dataclass(frozen=True)
class Access:
    """Where the server is, and the keys that open it. ``keys`` are by tenant; without any, ``key`` is everybody's."""

    base: str
    key: str = "none"
    keys: Mapping[str, str] = field(default_factory=dict)

    def key_of(self, chain: Chain) -> str:
        """The API key that a chain uses."""
        return self.keys.get(tenant_of(chain), self.key)

    def own_tenant(self, chain: Chain) -> str | None:
        """The tenant that is the chain's alone, if there is one."""
        tenant = tenant_of(chain)
        return tenant if tenant in self.keys and tenant != _BASELINES else None


def tenant_of(chain: Chain) -> str:
    """The tenant of a chain on a server of our own."""
    if not learns_on_the_server(chain.arm):
        return _BASELINES
    return f"{chain.environment}-{chain.variant}-{chain.arm.replace(':', '.')}-{chain.seed}"


@contextlib.asynccontextmanager
async def own_server(
    folder: Path, chains: Iterable[Chain], model: str | None, console: Console, *, concurrency: int, without: str | None
) -> AsyncIterator[Access]:
    """A server whose data lies in ``folder`` and stays there, ``without`` a part of its learner if one is named.

    It learns from as many edits at a time as there are chains played. Raises ``NotStarted``.
    """
    chains = list(chains)
    made = make_keys(folder, {tenant_of(chain) for chain in chains})
    objectives = {
        tenant_of(chain): {"name": OBJECTIVES[kind]}
        for chain in chains
        if (kind := chain.arm.removeprefix("attune:")) in OBJECTIVES
    }
    settings = {
        "ATTUNE_IN_FLIGHT_PER_KEY": _MANY,
        "ATTUNE_IN_FLIGHT_TOTAL": _MANY,
        "ATTUNE_LEARN_CONCURRENCY": str(min(concurrency, 256)),
    }
    if objectives:
        settings["ATTUNE_TENANT_OBJECTIVES"] = json.dumps(objectives)
    program = ("server",) if without is None else ("lab.prelude.ablation", without)
    if model is not None:
        settings["ATTUNE_MODEL"] = model
    async with local_server(folder, console, settings, program) as base:
        yield Access(base, keys=made)


def make_keys(folder: Path, tenants: Iterable[str]) -> dict[str, str]:
    """A new key for each tenant, as `attune keys create` makes them; earlier ones are revoked."""
    database = Database(f"sqlite:///{folder / 'attune.db'}")
    try:
        if database.pending():
            database.migrate()
        for held in database.read_now(keys.list_all):
            if held.revoked_at is None:
                database.write_now(keys.revoke, held.id)
        return {tenant: database.write_now(keys.create, tenant, "bench")[1] for tenant in sorted(tenants)}
    finally:
        database.close()
