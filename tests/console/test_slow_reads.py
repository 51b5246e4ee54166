"""Slow reads stand in nobody's way: not in that of calls, not for ever, and few at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest

from console import slow_reads
from console.slow_reads import MOST_KEPT, MOST_WAITING, SlowReads
from middlewares.errors import Refusal
from storage.connection import Connection
from storage.database import Database, open_database
from tests.gateway import place_empty_books

ONE = "SELECT 1"


@pytest.fixture
def books(sqlite_database_url: str) -> Database:
    """A database whose threads were never started: what is read here needs none of them."""
    place_empty_books(sqlite_database_url)
    return open_database(sqlite_database_url)


async def test_one_at_a_time_and_nobody_for_ever(books: Database) -> None:
    """Whoever waits too long, or comes when many wait, is told; what began goes on to its end before the next begins."""
    may_end, running, most = threading.Event(), 0, 0

    def wait(connection: Connection) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        may_end.wait(10)
        running -= 1
        return connection.execute(ONE).fetchone()

    slow = SlowReads(books, patience_seconds=0.05)
    waiting = [asyncio.ensure_future(slow.read(wait)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as crowded:
        await slow.read(wait)
    told = await asyncio.gather(*waiting, return_exceptions=True)
    may_end.set()
    async with asyncio.timeout(10):
        while slow._running:
            await asyncio.sleep(0.01)

    assert "overloaded" == crowded.value.problem.code
    assert ["overloaded"] * MOST_WAITING == [one.problem.code for one in told if isinstance(one, Refusal)]
    assert 1 == most
    assert (1,) == await SlowReads(books).read(wait)


async def test_what_may_be_old_is_read_once(books: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its question, for some seconds; few answers are kept."""
    asked: list[int] = []

    def count(connection: Connection, number: int) -> int:
        asked.append(number)
        assert connection.execute(ONE).fetchone() == (1,)
        return number * 10

    slow = SlowReads(books)
    told = [await slow.read_kept(count, number) for number in (1, 2, 1)]
    monkeypatch.setattr(slow_reads, "KEPT_SECONDS", 0.0)
    again = await slow.read_kept(count, 1)
    for number in range(MOST_KEPT + 3):
        await slow.read_kept(count, number)

    assert [10, 20, 10, 10] == [*told, again]
    assert [1, 2, 1] == asked[:3]
    assert MOST_KEPT == len(slow._kept)


async def test_what_fails_is_told(books: Database) -> None:
    """As it is, and the next one is read."""

    def fail(_connection: Connection) -> None:
        raise ValueError("no")

    slow = SlowReads(books)
    with pytest.raises(ValueError, match="no"):
        await slow.read_kept(fail)
    assert 7 == await slow.read_kept(lambda _connection: 7)
