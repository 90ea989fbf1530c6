"""An import as it arrives: lines, rows, items, stored a few at a time, so that a gigabyte takes no memory."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from adapters.lifecycle import versions
from preference.imports import formats
from preference.imports.items import Format, Wish
from preference.imports.saving import Ready, prepare, store
from server.errors import QuotaExceeded
from server.http.body import MAX_VALUES, check_values
from server.http.legible import check_body
from server.services import Services
from store import users
from store.database import StoreUnavailable
from store.errors import AttuneError, Conflict, Invalid
from store.owner import Owner

BATCH_LINES, BATCH_BYTES = 100, 1 << 20
"""What is read at a time."""
ROW_ITEMS = 1_000
STORED_ITEMS = 100
"""What is embedded, and what is stored in one transaction, at a time."""
TOLD = 1_000
"""Refused lines that are told one by one."""
SKIPPED_TOLD = 100

Line = tuple[int, bytes | None]
"""Its number, from 1, and its bytes; none where it is too long."""


@dataclass
class Outcome:
    """What has become of the lines so far."""

    lines: int = 0
    taken: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    skipped: int = 0
    skipped_told: list[tuple[int, str]] = field(default_factory=list)
    refused: int = 0
    refused_told: list[tuple[int, str, str | None]] = field(default_factory=list)

    def skip(self, line: int, why: str) -> None:
        """A part of a line was left out."""
        self.skipped += 1
        if len(self.skipped_told) < SKIPPED_TOLD:
            self.skipped_told.append((line, why))

    def refuse(self, line: int, error: AttuneError) -> None:
        """A line, or an item of it, cannot be taken."""
        self.refused += 1
        if len(self.refused_told) < TOLD:
            self.refused_told.append((line, error.message, error.param))


@dataclass(frozen=True)
class Reading:
    """How rows are read."""

    format: Format | None
    of: str | None
    facts: bool
    user: str


async def lines(stream: AsyncIterator[bytes], longest: int) -> AsyncIterator[Line]:
    """The lines of a stream, of which no more is held than one; the bytes of one that is too long are dropped."""
    held, number, dropping = bytearray(), 1, False
    async for piece in stream:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            held += b"" if dropping else piece[start:end]
            yield number, None if dropping or len(held) > longest else bytes(held)
            held, number, dropping, start = bytearray(), number + 1, False, end + 1
        held += b"" if dropping else piece[start:]
        if len(held) > longest:
            held, dropping = bytearray(), True
    if held or dropping:
        yield number, None if dropping else bytes(held)


async def take_in(
    services: Services, owner: Owner, stream: AsyncIterator[bytes], reading: Reading, *, after: int = 0
) -> Outcome:
    """Store what the lines behind the first ``after`` hold. Raises ``StoreUnavailable`` and ``QuotaExceeded``, which
    say what is taken.

    Raises ``Conflict`` where the user is erased meanwhile: the rest of what was theirs is not brought back. And where
    learning is paused.
    """
    user = await services.database.write(users.ensure, owner)
    outcome = Outcome()
    batch: list[Line] = []
    size = 0
    async for number, line in lines(stream, services.settings.body_limit):
        outcome.lines = number
        if number <= after or (line is not None and not line.strip()):
            continue
        batch.append((number, line))
        size += len(line or b"")
        if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
            await _take(services, owner, user.opaque_id, batch, reading, outcome)
            batch, size = [], 0
    if batch:
        await _take(services, owner, user.opaque_id, batch, reading, outcome)
    return outcome


async def _take(
    services: Services, owner: Owner, opaque_id: str, batch: Sequence[Line], reading: Reading, outcome: Outcome
) -> None:
    ready = await asyncio.to_thread(_read, services, batch, reading, outcome)
    try:
        await services.quota.check(owner.tenant)
        stored = []
        for start in range(0, len(ready), STORED_ITEMS):  # others write in between
            some = ready[start : start + STORED_ITEMS]
            stored += await services.database.write(_store, owner, opaque_id, some, services)
    except (StoreUnavailable, QuotaExceeded) as error:
        # Whoever waits for the same count gets the same error, and has sent no lines.
        told = StoreUnavailable(str(error)) if isinstance(error, StoreUnavailable) else error
        told.message = f"{error.message} All before line {batch[0][0]} is taken; send the rest later, or all again."
        raise told from error.__cause__
    for number, result in stored:
        if isinstance(result, AttuneError):
            outcome.refuse(number, result)
            continue
        outcome.repeated += not result
        for type in result:
            outcome.taken[type] = outcome.taken.get(type, 0) + 1
            if type != "preference":
                services.metrics.accepted(owner.tenant, type, None)
    services.wake_worker()


def _read(services: Services, batch: Sequence[Line], reading: Reading, outcome: Outcome) -> list[tuple[int, Ready]]:
    """The items of some lines, with what takes time to find out about them. Refused lines go to ``outcome``."""
    found: list[tuple[int, Ready]] = []
    for number, line in batch:
        try:
            read = formats.read(
                _parsed(line, services.settings.body_limit),
                reading.format,
                of=reading.of,
                user=reading.user,
                facts=reading.facts,
            )
            if len(read.items) > ROW_ITEMS:
                raise Invalid(f"a line may hold {ROW_ITEMS:,} things at most; send one a line")
        except (AttuneError, RecursionError) as error:
            refused = error if isinstance(error, AttuneError) else Invalid("the line is nested too deep")
            outcome.refuse(number, refused)
            continue
        for why in read.skipped:
            outcome.skip(number, why)
        for item in read.items:
            try:
                found.append((number, prepare(item, services.settings.edit_limit)))
            except AttuneError as error:
                outcome.refuse(number, error)
    return _with_vectors(services, found)


def _parsed(line: bytes | None, longest: int) -> object:
    """The value of JSON that a line is. Raises ``Invalid``."""
    if line is None:
        raise Invalid(f"a line may have {longest:,} bytes at most")
    check_values(line, MAX_VALUES)
    check_body(line)
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Invalid("the line is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the line is not JSON: {str(error)[:200]}") from error


def _with_vectors(services: Services, found: list[tuple[int, Ready]]) -> list[tuple[int, Ready]]:
    contexts = [ready.item.context for _, ready in found if isinstance(ready.item, Wish) and ready.item.context]
    if not contexts:
        return found
    starts = range(0, len(contexts), STORED_ITEMS)
    vectors = (row for start in starts for row in services.embedder.embed(contexts[start : start + STORED_ITEMS]))
    return [
        (number, replace(ready, vector=next(vectors)))
        if isinstance(ready.item, Wish) and ready.item.context
        else (number, ready)
        for number, ready in found
    ]


def _store(
    c: Connection, owner: Owner, opaque_id: str, ready: Sequence[tuple[int, Ready]], services: Services
) -> list[tuple[int, list[str] | AttuneError]]:
    user = users.get(c, owner)
    if user is None or user.opaque_id != opaque_id:
        raise Conflict("This user was erased meanwhile: the rest is not taken.", param="user")
    users.check_learning(c, owner)
    done: list[tuple[int, list[str] | AttuneError]] = []
    limit, embedder = services.settings.max_preferences, services.embedder.name
    for number, one in ready:
        try:
            with c.begin_nested():
                done.append((number, store(c, owner, one, embedder=embedder, max_preferences=limit)))
        except (Invalid, Conflict) as error:
            done.append((number, error))
    if any("demonstration" in new for _, new in done if isinstance(new, list)):
        versions.queue_if_due(c, owner, services.settings.adapter_min_edits)
    return done
