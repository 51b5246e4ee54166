"""Background work that is done again and again, for as long as the process runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from storage.connection import StorageUnavailable

logger = logging.getLogger("find-token.app")

AGAIN_SECONDS: Final = 1.0
"""How soon background work that the database could not do is tried again."""
CANCEL_AGAIN_SECONDS: Final = 0.5


async def every(
    seconds: float, work: Callable[[], Awaitable[object]], *, first_after_seconds: float | None = None
) -> None:
    """Do ``work`` again and again; a database that is away for a while is no reason to stop, but to try again soon: whoever
    fails to write heartbeats for long is taken for dead."""
    pause = seconds if first_after_seconds is None else first_after_seconds
    failed = False
    while True:
        await asyncio.sleep(pause)
        pause = seconds
        try:
            await work()
            failed = False
        except StorageUnavailable as error:
            pause = min(seconds, AGAIN_SECONDS)
            if not failed:
                logger.warning("background work waits for the database: %s", error)
            failed = True


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended. Once is not enough: a connection that is being made may keep a cancellation to itself."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
