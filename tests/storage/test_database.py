"""A URL becomes a database that writes in groups, reads what is committed, and says when it cannot."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from storage.database import Conflict, Connection, Database, StorageUnavailable, open_database

CREATE = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"


@pytest.fixture
async def notes(database: Database) -> Database:
    """A database with a table of notes."""
    with database.session() as connection:
        connection.execute(CREATE)
    return database


def write(connection: Connection, number: int, text: str = "x") -> int:
    connection.execute("INSERT INTO note (id, text) VALUES (?, ?)", (number, text))
    return number


def write_and_break(connection: Connection, number: int) -> int:
    write(connection, number)
    raise LookupError(f"job {number} changed its mind")


def numbers(connection: Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM note ORDER BY id").fetchall()]


@pytest.mark.parametrize(
    "url",
    ["", "find-token.db", "sqlite://find-token.db", "sqlite:///", "sqlite:///:memory:", "mysql://u:secret@h/db"],
)
def test_a_url_that_names_no_database_is_refused_with_a_sentence(url: str) -> None:
    """The sentence shows how a URL looks, and never repeats a password."""
    with pytest.raises(ValueError, match="sqlite:///") as refused:
        open_database(url)

    assert "secret" not in str(refused.value)


def test_postgresql_without_its_driver_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is an optional dependency."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)

    with pytest.raises(ValueError, match="make drivers"):
        open_database("postgresql://user:password@host/name")


async def test_what_a_job_wrote_is_there_when_its_waiter_wakes(notes: Database) -> None:
    """`run` returns the job's result after the commit; `read` sees it."""
    assert 7 == await notes.run(write, 7)
    assert [7] == await notes.read(numbers)


async def test_jobs_that_gathered_share_one_commit(notes: Database) -> None:
    """Durability costs one commit per batch, and every batch is reported."""
    batches: list[int] = []
    notes.on_commit = lambda seconds, jobs: batches.append(jobs) if seconds >= 0 else None

    await asyncio.gather(*[notes.run(write, number) for number in range(100)])

    assert 100 == sum(batches)
    assert len(batches) < 50
    assert list(range(100)) == await notes.read(numbers)


async def test_a_job_that_raises_undoes_only_itself(notes: Database) -> None:
    """Its neighbours in the batch are done exactly once, and each waiter gets its own outcome."""
    good = [notes.run(write, number) for number in range(0, 20, 2)]
    bad = [notes.run(write_and_break, number) for number in range(1, 20, 2)]
    clash = notes.run(write, 0)

    outcomes = await asyncio.gather(*good, *bad, clash, return_exceptions=True)

    assert list(range(0, 20, 2)) == outcomes[:10]
    assert [f"job {number} changed its mind" for number in range(1, 20, 2)] == [str(error) for error in outcomes[10:20]]
    assert isinstance(outcomes[20], Conflict)
    assert list(range(0, 20, 2)) == await notes.read(numbers)


async def test_a_hidden_failure_never_loses_a_neighbour(notes: Database) -> None:
    """A job that swallows a failed statement must not turn the whole batch's commit into a silent rollback."""

    def clash_and_hide(connection: Connection) -> str:
        write(connection, 1)
        try:
            write(connection, 1)
        except Conflict:
            return "hidden"
        return "no clash"

    outcomes = await asyncio.gather(notes.run(write, 5), notes.run(clash_and_hide), return_exceptions=True)

    assert 5 == outcomes[0]
    # SQLite lets a job go on after a statement failed, PostgreSQL does not: either it is done or its waiter is told.
    done = await notes.read(numbers)
    assert ([1, 5] if outcomes[1] == "hidden" else [5]) == done


async def test_reading_sees_one_state_and_writes_nothing(notes: Database) -> None:
    """A query that writes leaves no trace, whatever it answers."""
    await notes.run(write, 1)

    await asyncio.gather(notes.read(write, 2), return_exceptions=True)

    assert [1] == await notes.read(numbers)


async def test_a_query_that_raises_tells_its_waiter_only(notes: Database) -> None:
    """The reader goes on with the next query."""

    def broken(_connection: Connection) -> None:
        raise LookupError("nothing here")

    with pytest.raises(LookupError, match="nothing here"):
        await notes.read(broken)

    assert [] == await notes.read(numbers)


async def test_a_session_commits_at_its_end_and_undoes_when_it_raises(notes: Database) -> None:
    """One transaction for a command."""
    with notes.session() as connection:
        write(connection, 1)
    with pytest.raises(LookupError), notes.session() as connection:
        write_and_break(connection, 2)

    assert [1] == await notes.read(numbers)


async def test_a_snapshot_sees_one_state_while_others_write(notes: Database) -> None:
    """What is committed meanwhile is not seen, and nobody waits for anybody."""
    await notes.run(write, 1)
    with notes.session(snapshot=True) as connection:
        before = numbers(connection)
        await notes.run(write, 2)
        after = numbers(connection)

    assert [1] == before == after


async def test_cancelling_a_waiter_never_cancels_its_job(notes: Database) -> None:
    """The job is done, and `on_orphan` gets the result, on the loop; a job that raised has none."""
    orphans: list[int] = []
    waiters = [asyncio.create_task(notes.run(write, number, on_orphan=orphans.append)) for number in range(20)]
    doomed = asyncio.create_task(notes.run(write_and_break, 99, on_orphan=orphans.append))
    await asyncio.sleep(0)
    for waiter in (*waiters, doomed):
        waiter.cancel()
    outcomes = await asyncio.gather(*waiters, doomed, return_exceptions=True)
    await notes.run(write, 50)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert list(range(20)) == sorted(orphans)
    assert [*range(20), 50] == await notes.read(numbers)


async def test_closing_brings_everything_submitted_to_its_outcome(database_url: str) -> None:
    """Nothing submitted before is lost; what comes later is refused at once."""
    database = open_database(database_url)
    with database.session() as connection:
        connection.execute(CREATE)
    await database.start()
    waiters = [asyncio.create_task(database.run(write, number)) for number in range(600)]
    await asyncio.sleep(0)

    await database.close()
    outcomes = await asyncio.gather(*waiters)

    assert list(range(600)) == outcomes
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.run(write, 601)
    await database.close()
    with database.session() as connection:
        assert list(range(600)) == numbers(connection)


async def test_too_many_waiting_jobs_are_refused_at_once(sqlite_database_url: str) -> None:
    """The queue is bounded: what does not fit is told so, and what fits is done."""
    database = open_database(sqlite_database_url, queue_limit=10)
    with database.session() as connection:
        connection.execute(CREATE)
    await database.start()

    outcomes = await asyncio.gather(*[database.run(write, number) for number in range(15)], return_exceptions=True)

    assert list(range(10)) == outcomes[:10]
    assert all(isinstance(outcome, StorageUnavailable) for outcome in outcomes[10:])
    assert 0 == database.queue_length
    await database.close()


async def test_a_locked_sqlite_file_is_unavailable_and_then_works_again(
    sqlite_database_url: str, tmp_path: Path
) -> None:
    """Another process in a long transaction: nothing is done, everybody waiting is told, and later work succeeds."""
    database = open_database(sqlite_database_url, stall_seconds=0.1)
    with database.session() as connection:
        connection.execute(CREATE)
    await database.start()
    other = sqlite3.connect(tmp_path / "find-token.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    outcomes = await asyncio.gather(*[database.run(write, number) for number in range(3)], return_exceptions=True)
    seen = await database.read(numbers)
    other.execute("ROLLBACK")
    other.close()

    assert ["database is locked"] * 3 == [str(outcome) for outcome in outcomes]
    assert [] == seen
    assert 4 == await database.run(write, 4)
    await database.close()


async def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path, postgres_url: str) -> None:
    """A missing folder and a missing server alike; starting does not need either."""
    missing = f"{postgres_url.rpartition('/')[0]}/no_such_database"
    for url in (f"sqlite:///{tmp_path}/missing/file.db", missing):
        database = open_database(url)
        await database.start()
        with pytest.raises(StorageUnavailable, match="cannot be opened"):
            await database.ping()
        with pytest.raises(StorageUnavailable, match="cannot be opened"):
            await database.run(write, 1)
        with pytest.raises(StorageUnavailable, match="cannot be opened"), database.session():
            pass
        await database.close()


def _end_other_sessions(url: str) -> None:
    """What a restart of the server does to the connections of a gateway."""
    connection = psycopg2.connect(url)
    connection.cursor().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    connection.close()


async def test_a_restarted_server_is_not_noticed(postgres_database: Database, postgres_database_url: str) -> None:
    """Work that surely was not done on the stale connection is done on a new one, once."""
    await postgres_database.run(lambda connection: connection.execute(CREATE) and None)
    await postgres_database.ping()
    _end_other_sessions(postgres_database_url)

    assert 1 == await postgres_database.run(write, 1)
    assert [1] == await postgres_database.read(numbers)


async def test_a_statement_that_hangs_is_broken_off(postgres_database_url: str) -> None:
    """Somebody else's lock, or a frozen server: the waiter is told, and the thread works again afterwards."""
    database = open_database(postgres_database_url, stall_seconds=0.2)
    with database.session() as connection:
        connection.execute(CREATE)
    await database.start()
    other: Any = psycopg2.connect(postgres_database_url)
    other.cursor().execute("LOCK TABLE note")

    with pytest.raises(StorageUnavailable):
        await database.run(write, 1)
    with pytest.raises(StorageUnavailable):
        await database.read(numbers)
    other.close()

    assert 2 == await database.run(write, 2)
    assert [2] == await database.read(numbers)
    await database.close()


async def test_a_server_soon_lets_go_of_who_was_cut_off(postgres_database: Database) -> None:
    """PostgreSQL looks after a silent connection within seconds, and gives its locks to others; tests/faults cuts one off."""
    asked = ("lock_timeout", "idle_in_transaction_session_timeout", "tcp_user_timeout", "tcp_keepalives_idle")

    def look(connection: Connection) -> list[str]:
        return [connection.execute(f"SHOW {name}").fetchone()[0] for name in asked]

    assert ["4s", "30s", "5000", "5"] == await postgres_database.run(look)
    assert ["4s", "30s", "5000", "5"] == await postgres_database.read(look)


def test_a_session_that_lost_its_database_says_so(postgres_database_url: str) -> None:
    """Nothing of it was done."""
    database = open_database(postgres_database_url)

    def lose(connection: Connection) -> None:
        connection.execute(CREATE)
        _end_other_sessions(postgres_database_url)
        write(connection, 1)

    with pytest.raises(StorageUnavailable) as told, database.session() as connection:
        lose(connection)

    assert not told.value.outcome_unknown


async def test_one_account_s_jobs_are_done_in_the_order_of_submission(notes: Database) -> None:
    """Batches are sorted by key, and the sorting keeps the order of what has the same key."""

    def append(connection: Connection, text: str) -> None:
        connection.execute("INSERT INTO note (id, text) SELECT COUNT(*), ? FROM note", (text,))

    await asyncio.gather(*[notes.run(append, f"{key}{turn}", key=f"acct_{key}") for turn in range(3) for key in "ba"])

    def texts(connection: Connection) -> list[str]:
        return [row[0] for row in connection.execute("SELECT text FROM note ORDER BY id").fetchall()]

    done = await notes.read(texts)
    assert ["a0", "a1", "a2"] == [text for text in done if text.startswith("a")]
    assert ["b0", "b1", "b2"] == [text for text in done if text.startswith("b")]
