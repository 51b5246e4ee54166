"""The books are locked, frozen, stopped or cannot be written: nobody is served for nothing, nobody pays twice, and nobody is
told that it was their fault; as soon as they are back, calls work, without a restart."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import psycopg2
import pytest

from tests.fakes.book_lock import AnyBookLock
from tests.fakes.lossy_wire import LossyWire
from tests.fakes.postgres import PostgresServer, running_server
from tests.faults.outages_of_books import Through, Watcher
from tests.faults.processes import COMMAND, PATIENT
from tests.faults.serving import serving
from tests.journeys.mix import draw_seed

EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
LOCKS, LOCKED_SECONDS = (10, 10.0) if EXAM else (1, 1.0)
AWAY_SECONDS = 60.0 if EXAM else 1.5
LOST_SECONDS = (20.0, 60.0) if EXAM else (1.5,)
"""For longer than a statement may take, and for less than the server keeps the transaction of somebody who is silent."""
FAILING_SHARE, FAILING_SECONDS = (0.001, 60.0) if EXAM else (0.05, 0.5)
"""How many reads and writes fail on a bad disk, and for how long."""
STREAMS = 20 if EXAM else 3
STREAMED = 'pieces=30 SIM:{"kind": "none", "pieces_per_second": 10}'
"""Three seconds of content: it goes on when the books are away, and ends before or after they are back."""
AWAY = (503, "storage_unavailable")
BACK_SECONDS = 5.0
READY_SECONDS = 2.0


@asynccontextmanager
async def watching(
    folder: Path, database_url: str, by_way_of: str = "", program: tuple[str, ...] = COMMAND
) -> AsyncIterator[Watcher]:
    """A gateway on these books, as a process, and who watches it; the gateway reaches them by another URL, if one is given."""
    async with (
        serving(folder, by_way_of or database_url, program=program, routing=PATIENT) as one,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        watcher = Watcher(one, session, database_url)
        assert 200 == (await watcher.call()).status
        yield watcher
        assert 0 == await one.running.stop(), one.running.log.read_text()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of this test's own."""
    with running_server(fsync=False) as server:
        yield server


def fail(disk: Path, share: float) -> None:
    """So many of SQLite's reads and writes fail from now on; 1 is a full disk."""
    written = disk.with_suffix(".new")
    written.write_text(str(share))
    written.rename(disk)


def open_transactions(url: str) -> list[tuple[str]]:
    """The statements behind which the server still waits for a client, and keeps its locks."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'")
        return cursor.fetchall()


def prove_answers(through: Through, back_seconds: float) -> None:
    """Served, or told that the books are away; and everybody is served again soon after they are back."""
    late = [one for one in through.after(back_seconds) if one.status != 200]
    assert through.statuses() <= {(200, ""), AWAY}
    assert [] == late
    assert through.after(back_seconds)


@pytest.mark.timeout(0 if EXAM else 120)
async def test_somebody_else_keeps_the_books_locked(sqlite_database_url: str, tmp_path: Path) -> None:
    """S-113: again and again for seconds, under load: calls wait or get 503, and a second later all is as it was."""
    lock = AnyBookLock(sqlite_database_url)

    async def locked() -> None:
        lock.take()
        await asyncio.sleep(LOCKED_SECONDS)
        lock.release()

    async with watching(tmp_path, sqlite_database_url) as watcher:
        told = []
        for _ in range(LOCKS):
            through = await watcher.through(locked)
            prove_answers(through, back_seconds=0.0)
            assert 1.0 > max(one.seconds for one in through.after(1.0))
            told += through.told
        await watcher.prove(told)


@pytest.mark.timeout(0 if EXAM else 120)
@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_postgresql_is_gone(postgres: PostgresServer, tmp_path: Path, how: str) -> None:
    """S-112: under load and with open streams: 503 and nothing else, streams go on and are charged, readiness says so within
    two seconds, and five seconds after it is back everybody is served."""

    async def gone() -> None:
        (postgres.stop if how == "stopped" else postgres.freeze)()
        await asyncio.sleep(0.2)
        assert READY_SECONDS > (await watcher.ready())[1]
        assert (503, True) == ((told := await watcher.ready())[0], told[1] < READY_SECONDS)
        await asyncio.sleep(AWAY_SECONDS)
        (postgres.start if how == "stopped" else postgres.thaw)()

    async with watching(tmp_path, postgres.url) as watcher:
        streams = [watcher.call(STREAMED, stream=True) for _ in range(STREAMS)]
        through = await watcher.through(gone, *streams)
        prove_answers(through, BACK_SECONDS if EXAM else 1.0)
        assert [True] * STREAMS == [one.whole for one in through.told[:STREAMS]]
        assert AWAY in through.statuses() or how == "frozen"  # For a moment; then those who ask just wait.
        await watcher.prove(through.told)
        await watcher.until_ready_is(200)


@pytest.mark.timeout(0 if EXAM else 120)
@pytest.mark.parametrize("seconds", LOST_SECONDS)
@pytest.mark.parametrize("how", ["lost", "lost in a transaction", "reset"])
async def test_a_firewall_cuts_postgresql_off(
    postgres: PostgresServer, tmp_path: Path, how: str, seconds: float
) -> None:
    """S-112: its packets are dropped, or answered with resets: the same as if it were gone, and as soon back."""

    async def cut_off() -> None:
        if how == "lost in a transaction":
            wire.lose_after(b"UPDATE account")
            await wire.lost.wait()
        else:
            (wire.lose if how == "lost" else wire.reset)()
        await watcher.until_ready_is(503)
        await asyncio.sleep(seconds)
        assert not EXAM or [] == await asyncio.to_thread(open_transactions, postgres.url)
        wire.restore()

    async with LossyWire(postgres.url) as wire, watching(tmp_path, postgres.url, wire.url) as watcher:
        streams = [watcher.call(STREAMED, stream=True) for _ in range(STREAMS)]
        through = await watcher.through(cut_off, *streams)
        prove_answers(through, BACK_SECONDS if EXAM else 1.0)
        assert [True] * STREAMS == [one.whole for one in through.told[:STREAMS]]
        assert AWAY in through.statuses() or not (EXAM or how == "reset")  # For a moment, those who ask just wait.
        await watcher.prove(through.told)
        await watcher.until_ready_is(200)


@pytest.mark.timeout(0 if EXAM else 120)
async def test_nothing_can_be_written(sqlite_database_url: str, tmp_path: Path) -> None:
    """S-114: every write of the process fails, those of its log, too; the disk is full; reads and writes fail now and then:
    503, and readiness says so while nothing can be written; then all is as before."""
    seed, disk = draw_seed(), tmp_path / "disk"
    fail(disk, 0)
    program = (sys.executable, "-m", "tests.faults.bad_disk", str(disk), str(seed))
    path = sqlite_database_url.removeprefix("sqlite:///")

    async def full() -> None:
        process = watcher.serving.running.process.pid
        _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, most))
        await watcher.until_ready_is(503)
        await asyncio.sleep(LOCKED_SECONDS)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (most, most))

    async def no_space() -> None:
        fail(disk, 1)
        await watcher.until_ready_is(503)
        await asyncio.sleep(LOCKED_SECONDS)
        fail(disk, 0)

    async def failing() -> None:
        fail(disk, FAILING_SHARE)
        await asyncio.sleep(FAILING_SECONDS)
        fail(disk, 0)

    async def all_at_once() -> None:
        fail(disk, 1)
        await full()
        await failing()

    async with watching(tmp_path, sqlite_database_url, program=program) as watcher:
        for outage in (full, no_space, failing) if EXAM else (all_at_once,):
            through = await watcher.through(outage)
            prove_answers(through, back_seconds=0.5)
            assert AWAY in through.statuses() or outage is failing
            await watcher.prove(through.told)
            await watcher.until_ready_is(200)
        last = await watcher.call()
        await asyncio.sleep(0.3)
        assert last.request_id in watcher.serving.running.log.read_text()
        with sqlite3.connect(path) as connection:
            assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
