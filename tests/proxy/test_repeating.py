"""Work in the background goes on, whatever the database does."""

from __future__ import annotations

import asyncio

import pytest

from proxy.repeating import every
from storage.connection import StorageUnavailable


async def test_background_work_that_failed_is_tried_again_soon_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A heartbeat missed is followed by another at once and not at its usual time, or others would bury who lives."""
    monkeypatch.setattr("proxy.repeating.AGAIN_SECONDS", 0.001)
    tries = 0
    lives = asyncio.Event()

    async def beat() -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise StorageUnavailable("away")
        lives.set()

    task = asyncio.create_task(every(60, beat, first_after_seconds=0))
    async with asyncio.timeout(10):
        await lives.wait()
    task.cancel()

    assert 4 == tries
    assert ["background work waits for the database: away"] == [record.message for record in caplog.records]


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    """Anything else than a database that is away ends the work."""

    async def work() -> None:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        await every(0.001, work)
