"""A server of our own to play on, with a tenant for each user that it learns for."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from lab.local_server import local_server
from lab.prelude.log import Chain
from store import keys
from store.database import Database

_MANY = str(1 << 14)  # limits out of the way: the benchmark bounds its own requests


@contextlib.asynccontextmanager
async def own_server(
    folder: Path, chains: Sequence[Chain], model: str | None, console: Console, *, concurrency: int, without: str | None
) -> AsyncIterator[tuple[str, Mapping[str, str]]]:
    """The URL and the keys, by tenant, of a server whose data lies in ``folder`` and stays there.

    It is ``without`` a part of its learner if one is named, and learns from as many edits at a time as there are chains
    played. Raises ``ServerFailed``.
    """
    made = make_keys(folder, {chain.tenant for chain in chains})
    settings = {
        "ATTUNE_IN_FLIGHT_PER_KEY": _MANY,
        "ATTUNE_IN_FLIGHT_TOTAL": _MANY,
        "ATTUNE_LEARN_CONCURRENCY": str(min(concurrency, 256)),
        **({"ATTUNE_MODEL": model} if model is not None else {}),
    }
    program = ("server",) if without is None else ("lab.prelude.ablation", without)
    async with local_server(folder, console, settings, program) as base:
        yield base, made


def make_keys(folder: Path, tenants: Iterable[str]) -> dict[str, str]:
    """A new key for each tenant, as `attune keys create` makes them; earlier ones are revoked."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
