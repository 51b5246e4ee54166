"""What is kept in memory is forgotten when anything changed, and never believed for long without word."""

from __future__ import annotations

import asyncio

import pytest

import storage.revision
from storage.database import Connection, Database, StorageUnavailable
from storage.revision import RevisionCache, bump_revision, find_revision
from storage.sweep import beat


class Source:
    """A table of one value, and how often it was asked."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.asked = 0

    def load(self, connection: Connection, key: str) -> str | None:
        connection.execute("SELECT 1").fetchone()
        self.asked += 1
        return None if self.value is None else f"{key}={self.value}"


async def test_each_change_moves_the_revision_once_a_transaction(database: Database) -> None:
    """However many changes it holds."""

    def change_twice(connection: Connection) -> None:
        bump_revision(connection)
        bump_revision(connection)

    before = await database.read(find_revision)
    await database.run(change_twice)
    await database.run(change_twice)

    assert before + 2 == await database.read(find_revision)


async def test_nothing_is_kept_while_nobody_watches(sqlite_database: Database) -> None:
    """A cache without news fails closed."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)

    assert ["k=a", "k=a"] == [await cache.get("k"), await cache.get("k")]
    assert 2 == source.asked


async def test_what_is_kept_is_forgotten_when_the_revision_moves(sqlite_database: Database) -> None:
    """Until then the database is asked once."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)
    await cache.refresh()
    kept = [await cache.get("k") for _ in range(3)]
    source.value = "b"
    await cache.refresh()
    still = await cache.get("k")
    await sqlite_database.run(bump_revision)
    await cache.refresh()

    assert (["k=a"] * 3, "k=a", "k=b") == (kept, still, await cache.get("k"))
    assert 2 == source.asked


async def test_what_was_not_found_is_asked_again(sqlite_database: Database) -> None:
    """A key made a moment ago works at once."""
    source = Source(None)
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)
    await cache.refresh()

    missing = await cache.get("k")
    source.value = "a"

    assert (None, "k=a") == (missing, await cache.get("k"))


async def test_those_who_miss_at_once_share_one_query(sqlite_database: Database) -> None:
    """And one who leaves does not take the answer from the others."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)
    await cache.refresh()

    waiting = [asyncio.create_task(cache.get("k")) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert ["k=a"] * 49 == outcomes[1:]
    assert 1 == source.asked


async def test_what_was_looked_up_before_a_change_is_not_kept_after_it(sqlite_database: Database) -> None:
    """An answer on its way while the revision moves is used once, and not again."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)
    await cache.refresh()

    task = asyncio.create_task(cache.get("k"))
    for _ in range(3):
        await asyncio.sleep(0)
    cache.forget()
    await task
    source.value = "b"

    assert "k=b" == await cache.get("k")


async def test_the_memory_is_bounded(sqlite_database: Database) -> None:
    """The oldest makes room."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load, limit=2)
    await cache.refresh()

    for key in ("1", "2", "3", "3", "2", "1"):
        await cache.get(key)

    assert 4 == source.asked


async def test_without_news_for_too_long_nothing_is_believed(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database out of reach: kept values live a moment longer, then whoever asks is told the truth."""
    source = Source("a")
    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load)
    await cache.refresh()
    await cache.get("k")
    await sqlite_database.close()

    await cache.refresh()
    kept = await cache.get("k")
    monkeypatch.setattr(storage.revision, "TRUSTED_SECONDS", -1.0)
    await cache.refresh()

    assert "k=a" == kept
    with pytest.raises(StorageUnavailable):
        await cache.get("k")


async def test_a_failed_look_up_reaches_everybody_who_waits(sqlite_database: Database) -> None:
    """And the next one asks again."""

    def load(_connection: Connection, key: str) -> str:
        raise LookupError(key)

    cache: RevisionCache[str, str] = RevisionCache(sqlite_database, load)

    outcomes = await asyncio.gather(cache.get("k"), cache.get("k"), return_exceptions=True)

    assert [LookupError, LookupError] == [type(outcome) for outcome in outcomes]


async def test_whoever_revokes_waits_for_the_others(database: Database) -> None:
    """Until each living process has forgotten; one that does not answer is not waited for longer than it trusts itself."""
    for process_id in ("p1", "p2", "dead"):
        await database.run(beat, process_id)
    with database.session() as connection:
        connection.execute("UPDATE process SET heartbeat = heartbeat - 60000000 WHERE id = 'dead'")
    source = Source("a")
    first: RevisionCache[str, str] = RevisionCache(database, source.load, process_id="p1")
    second: RevisionCache[str, str] = RevisionCache(database, source.load, process_id="p2")
    for cache in (first, second):
        await cache.refresh()
        await cache.get("k")
    source.value = "b"
    await database.run(bump_revision)

    waiting = asyncio.create_task(first.forget_everywhere())
    await asyncio.sleep(3 * storage.revision.LOOK_SECONDS)
    assert (False, None, "k=a") == (waiting.done(), first.kept("k"), second.kept("k"))
    await second.refresh()
    async with asyncio.timeout(2):
        await waiting
    assert second.kept("k") is None


async def test_one_that_hangs_is_waited_for_until_it_trusts_nothing(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its own cache is as good as empty."""
    monkeypatch.setattr(storage.revision, "TRUSTED_SECONDS", 0.3)
    for process_id in ("p1", "p2"):
        await sqlite_database.run(beat, process_id)
    source = Source("a")
    first: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load, process_id="p1")
    hanging: RevisionCache[str, str] = RevisionCache(sqlite_database, source.load, process_id="p2")
    await hanging.refresh()
    await hanging.get("k")
    await sqlite_database.run(bump_revision)

    await first.forget_everywhere()

    assert hanging.kept("k") is None
