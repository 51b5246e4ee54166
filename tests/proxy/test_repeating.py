"""Work in the background goes on, whatever the database does."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.repeating import every
from storage.connection import StorageUnavailable


async def test_a_database_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, until the work has been done again; then it goes on as before."""
    caplog.set_level(logging.WARNING)
    tried: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        tried.append(len(tried))
        if len(tried) >= 6:
            enough.set()
        if len(tried) in (2, 3, 5):
            raise StorageUnavailable("away")

    task = asyncio.create_task(every(0.001, work, first_after_seconds=0))
    async with asyncio.timeout(10):
        await enough.wait()
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert 2 == sum("waits for the database" in record.getMessage() for record in caplog.records)


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    """Anything else than a database that is away ends the work."""

    async def work() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        await every(0.001, work)
