"""Background tasks, which end with the server, and whose end is logged."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from server.engine.supervisor import EngineSupervisor

log = logging.getLogger(__name__)


async def supervise(process: EngineSupervisor, on_fatal: Callable[[str], None]) -> None:
    """Keep the engine running; ``on_fatal`` is told why when it is given up."""
    await process.supervise()
    on_fatal(process.reason or "The engine stopped.")


def run_task(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start ``work``, which ends with the ``stack``; an error is logged."""
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        if not task.cancelling():  # a second time would interrupt what it does to end in order
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s stopped", name, exc_info=error)

    task.add_done_callback(ended)
    stack.push_async_callback(end)
    return task
