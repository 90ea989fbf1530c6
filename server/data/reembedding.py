"""After an upgrade that embeds anew: what another embedder has embedded is brought over while the server runs."""

import asyncio
import logging
from collections.abc import Iterator

from preference.ports import Embedder
from preference.recall import embedding
from store.database import Database

log = logging.getLogger(__name__)

_EVERY = 60.0


def steps(database: Database, embedder: Embedder) -> Iterator[int]:
    """Bring all contexts over, a few at a time; how many each time. Blocks."""
    last = None
    while found := database.read_now(embedding.some, embedder, last):
        vectors = embedder.embed([one.text for one in found])
        database.write_now(embedding.bring_over, found, embedder, vectors)
        yield len(found)
        last = found[-1]


async def run(database: Database, embedder: Embedder) -> None:
    """Bring over what there is, and what servers of the version before still add, until cancelled."""
    while True:
        try:
            if count := await asyncio.to_thread(lambda: sum(steps(database, embedder))):
                log.info("%d contexts were embedded anew", count)
        except Exception:
            log.exception("contexts could not be embedded anew")
        await asyncio.sleep(_EVERY)
