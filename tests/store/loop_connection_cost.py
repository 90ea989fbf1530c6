"""What the loop connection saves: `python -m tests.store.loop_connection_cost` prints processor time a call."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count

from store import turns, users
from store.database import Database
from store.owner import Owner
from tests.preference.helpers import turn

ANN = Owner("acme", "ann")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/attune.db")
        database.migrate()
        opaque_id = (await database.write(users.ensure, ANN)).opaque_id
        numbers = count()

        async def record(how: Callable[..., Awaitable[None]]) -> None:
            await how(turns.record, ANN, turn(f"c-{next(numbers)}", 1.0, "Dear Sam" * 20, "Sam"), opaque_id)

        ways: dict[str, Callable[[], Awaitable[object]]] = {
            "look_up": lambda: database.look_up(users.get, ANN),
            "read": lambda: database.read(users.get, ANN),
            "unsynced": lambda: record(database.write_unsynced),
            "note": lambda: record(database.note),
        }
        for name, way in ways.items():
            took = []
            for _ in range(20):
                started = time.process_time()
                for _ in range(50):
                    await way()
                took.append((time.process_time() - started) / 50)
            print(f"{name}: {min(took) * 1e6:.0f} us")
        database.close()


if __name__ == "__main__":
    asyncio.run(main())
