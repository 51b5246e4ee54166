"""Background work that is done again and again, for as long as the process runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from storage.connection import StorageUnavailable

logger = logging.getLogger("find-token.app")

AGAIN_SECONDS: Final = 1.0
"""How soon background work that the database could not do is tried again."""


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
