"""A server's limits in a process of its own, spent by many tasks at once: what they were let have, as JSON.

``python -m tests.server.admission.spender PLAN``, with the plan as JSON; see ``test_shared_limits.py``.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence

from server.admission.limits import Limits
from server.errors import TooManyRequests
from store.database import Database
from store.keys import Key
from store.limits import Limit

KEY = Key("key", "t", "n", 0.0)
USER = "maria"


async def spend(limits: Limits, sizes: Sequence[int], seed: int) -> tuple[list[tuple[float, float, int]], int]:
    """One client: answers of so many tokens at most, of which each takes some. When it had them, and how many."""
    dice, had, refused = random.Random(seed), list[tuple[float, float, int]](), 0
    for size in sizes:
        try:
            entered = await limits.enter(KEY)
        except TooManyRequests:
            refused += 1
            await asyncio.sleep(0.01)
            continue
        try:
            aside = await limits.set_aside(KEY, USER, size)
        except TooManyRequests:
            refused += 1
        else:
            assert aside is not None
            began = time.monotonic()
            await asyncio.sleep(dice.random() * 0.01)
            aside.spent = dice.randint(0, size)
            had.append((began, time.monotonic(), aside.spent))
            limits.settle(aside)
        limits.leave(entered)
    return had, refused


async def main() -> None:
    """All clients of this server."""
    plan = json.loads(sys.argv[1])
    database = Database(plan["url"], busy_seconds=60)
    limits = Limits(
        of_key=Limit(**plan["key"]),
        of_user=Limit(**plan["user"]),
        total=1000,
        database=database,
        shared=True,
        patience=60,
    )
    running = asyncio.create_task(limits.run())
    clients = [spend(limits, sizes, plan["seed"] + number) for number, sizes in enumerate(plan["clients"])]
    done = await asyncio.gather(*clients)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await limits.close()
    assert limits.common_up
    print(json.dumps({"had": [one for had, _ in done for one in had], "refused": sum(refused for _, refused in done)}))


if __name__ == "__main__":
    asyncio.run(main())
