"""The count that all servers of a database keep together, asked for no longer than a moment.

It has connections of its own, so that a count that hangs holds up nothing else.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from store import limits
from store.database import Database
from store.limits import Debt, Demand, Exceeded, Taken

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a request waits for the count."""
_AGAIN = 5.0
_SETTLE, _RENEW = 0.05, limits.LEASE / 3
_MOST = 10_000
"""Subjects of which debts are remembered while the count is away."""
_LATE = 4


class Away(Exception):
    """The count does not answer now."""


class CommonCount:
    """Asks, and settles later. One event loop."""

    def __init__(self, database: Database, holder: str, patience: float = PATIENCE) -> None:
        self._database = database
        self._holder = holder
        self._patience = patience
        self._away_until = 0.0
        self._late: set[asyncio.Task[Any]] = set()
        self._owed: dict[tuple[str, str], Debt] = {}
        self._under_way: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._renew_at = 0.0
        self._owes = asyncio.Event()
        self._settling = asyncio.Lock()
        self.up = True

    async def take(self, demands: Sequence[Demand]) -> Taken:
        """Let them in, all or none. Raises ``Exceeded``, or ``Away``."""
        try:
            return await self._take(demands)
        except Exceeded:
            if not self._owed and not self._settling.locked():
                raise
            await self._within_patience(asyncio.create_task(self._settle()))  # what is given back may be enough
            return await self._take(demands)

    async def _take(self, demands: Sequence[Demand]) -> Taken:
        if time.monotonic() < self._away_until or len(self._late) >= _LATE:
            raise Away
        asked = asyncio.create_task(self._database.note(limits.take, demands, self._holder))
        try:
            await self._within_patience(asked)
        except BaseException:
            self._forgo(asked, demands)
            raise
        try:
            taken = asked.result()
        except Exceeded:
            self._came()
            raise
        except Exception as error:  # away, or not as it should be: the local count holds
            self._went(str(error))
            raise Away from error
        self._came()
        self._count(demands)
        return taken

    async def _within_patience(self, work: asyncio.Task[Any]) -> None:
        done, _ = await asyncio.wait((work,), timeout=self._patience)
        if not done:
            self._went(f"it did not answer within {self._patience:g} s")
            raise Away

    def owe(self, demand: Demand, debt: Debt) -> None:
        """To be settled soon."""
        at = (demand.tenant, demand.subject)
        if debt.in_flight:
            self._under_way[at] -= debt.in_flight
            if self._under_way[at] <= 0:
                del self._under_way[at]
        self._add(*at, debt)
        self._owes.set()

    async def run(self) -> None:
        """Settle, and say that this server lives, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEW):  # wait_for loses a cancellation in Python 3.11
                    await self._owes.wait()
            await asyncio.sleep(_SETTLE if time.monotonic() >= self._away_until else _AGAIN)  # several at once
            await self._settle()
            if time.monotonic() >= self._renew_at:
                await self._renew()

    async def close(self) -> None:
        """Settle what can be settled now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._settle()
        self._database.close()

    async def _settle(self) -> None:
        async with self._settling:
            self._owes.clear()
            while self._owed and await self._settle_one(next(iter(self._owed))[0]):
                pass

    async def _settle_one(self, tenant: str) -> bool:
        """What is owed of a tenant; whether that could be done."""
        debts = {subject: debt for (of, subject), debt in self._owed.items() if of == tenant}
        for subject in debts:
            del self._owed[tenant, subject]
        try:
            await self._database.note(limits.give, tenant, debts, self._holder)
        except Exception as error:
            self._went(str(error))
            for subject, debt in debts.items():
                # It may have been done all the same: what would be given back twice is not given back.
                self._add(tenant, subject, replace(debt, tokens=max(0, debt.tokens), in_flight=0))
            self._owes.set()
            return False
        self._came()
        return True

    def _add(self, tenant: str, subject: str, debt: Debt) -> None:
        later = self._owed.get((tenant, subject))
        if later is not None or (len(self._owed) < _MOST and (debt.tokens or debt.in_flight)):
            self._owed[tenant, subject] = debt if later is None else debt + later

    async def _renew(self) -> None:
        of_tenant: defaultdict[str, list[str]] = defaultdict(list)
        for tenant, subject in self._under_way:
            of_tenant[tenant].append(subject)
        try:
            for tenant, subjects in of_tenant.items():
                await self._database.note(limits.renew, tenant, subjects, self._holder)
            self._renew_at = time.monotonic() + _RENEW
        except Exception as error:
            self._went(str(error))

    def _forgo(self, asked: "asyncio.Task[Taken]", demands: Sequence[Demand]) -> None:
        """Nobody waits for it any more: what it still takes is given back."""
        self._late.add(asked)

        def ended(asked: "asyncio.Task[Taken]") -> None:
            self._late.discard(asked)
            if asked.cancelled() or asked.exception() is not None:
                return
            self._count(demands)
            for demand in demands:
                day = int(asked.result().now // limits.DAY)
                self.owe(demand, Debt(demand.limit, day, -demand.tokens, demand.in_flight))

        asked.add_done_callback(ended)

    def _count(self, demands: Sequence[Demand]) -> None:
        for demand in demands:
            if demand.in_flight:
                self._under_way[demand.tenant, demand.subject] += demand.in_flight

    def _went(self, reason: str) -> None:
        self._away_until = time.monotonic() + _AGAIN
        if self.up:
            log.warning("limits are counted by this server alone for now: %s", reason)
        self.up = False

    def _came(self) -> None:
        if not self.up:
            log.info("limits are counted together again")
        self.up = True
        self._away_until = 0.0
