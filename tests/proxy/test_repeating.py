"""Work in the background goes on, whatever the database does."""

from __future__ import annotations

import asyncio

import pytest

from proxy.repeating import end, every
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


async def test_work_that_keeps_a_cancellation_to_itself_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a connection that is being made may do: a process that is told to stop must not wait for it for ever."""
    monkeypatch.setattr("proxy.repeating.CANCEL_AGAIN_SECONDS", 0.001)
    kept = 0

    async def keep() -> None:
        nonlocal kept
        while kept < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                kept += 1
        await asyncio.Event().wait()

    async def fail() -> None:
        raise StorageUnavailable("away")

    tasks = [asyncio.create_task(keep()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(tasks)

    assert 2 == kept
    assert [True, True] == [task.done() for task in tasks]
