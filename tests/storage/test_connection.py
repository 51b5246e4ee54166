"""A connection says our SQL in its database's words, and turns its driver's errors into ours."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from storage.connection import Conflict, Connection, StorageUnavailable, TransactionAborted
from storage.database import Database, open_database


@pytest.fixture
def closed_database(database_url: str) -> Database:
    """A database with a table of notes, without threads."""
    database = open_database(database_url)
    with database.session() as connection:
        connection.execute(
            "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL, rank BIGINT CHECK (rank > 0))"
        )
        connection.execute("CREATE TABLE counter (number INTEGER)")
        connection.execute("INSERT INTO counter (number) VALUES (0)")
    return database


@pytest.fixture
def connection(closed_database: Database) -> Iterator[Connection]:
    """A connection in a transaction of a session."""
    with closed_database.session() as opened:
        yield opened


def test_parameters_are_values_and_never_sql(connection: Connection) -> None:
    """Quotes, percent signs and question marks in values arrive as they are; a percent sign in SQL is one."""
    text = "50 % of 'it'; DROP TABLE note? %s \\ 你好"
    connection.execute("INSERT INTO note (id, text, rank) VALUES (?, ?, ?)", (1, text, 10**17))

    found = connection.execute("SELECT text, rank, 7 % 4 FROM note WHERE text = ?", (text,)).fetchone()

    assert (text, 10**17, 3) == found


def test_many_rows_are_written_by_one_call(connection: Connection) -> None:
    """`insert` takes as many as there are, none included."""
    connection.insert("INSERT INTO note (id, text)", [(1, "a"), (2, "b")])
    connection.insert("INSERT INTO note (id, text)", [])

    assert [(1, "a"), (2, "b")] == connection.execute("SELECT id, text FROM note ORDER BY id").fetchall()


def test_a_list_is_one_parameter(connection: Connection) -> None:
    """`IN (??)`: any number of texts, with whatever characters, and the empty list finds nothing."""
    connection.insert("INSERT INTO note (id, text)", [(1, 'a"b'), (2, "50 %"), (3, "c")])
    find = "SELECT id FROM note WHERE text IN (??) AND id < ? ORDER BY id"

    assert [(1,), (2,)] == connection.execute(find, (connection.many(['a"b', "50 %", "d"]), 9)).fetchall()
    assert [] == connection.execute(find, (connection.many([]), 9)).fetchall()


@pytest.mark.parametrize("values", [(1, "again", 1), (2, None, 1), (2, "below", 0)])
def test_what_the_schema_refuses_is_a_conflict(closed_database: Database, values: tuple[int, str | None, int]) -> None:
    """A second row of the same key, a missing value, a failed check; one row or many."""
    insert = "INSERT INTO note (id, text, rank) VALUES (?, ?, ?)"
    with closed_database.session() as connection:
        connection.execute(insert, (1, "first", 1))

    with pytest.raises(Conflict), closed_database.session() as connection:
        connection.execute(insert, values)
    with pytest.raises(Conflict), closed_database.session() as connection:
        connection.insert("INSERT INTO note (id, text, rank)", [values])


def test_a_savepoint_undoes_only_what_is_inside(connection: Connection) -> None:
    """The transaction goes on as if the failed part had never begun."""
    connection.execute("INSERT INTO note (id, text) VALUES (1, 'before')")

    def write_in_savepoint(*numbers: int) -> None:
        with connection.savepoint():
            for number in numbers:
                connection.execute("INSERT INTO note (id, text) VALUES (?, 'inside')", (number,))

    with pytest.raises(Conflict):
        write_in_savepoint(2, 1)
    write_in_savepoint(3)

    assert [(1,), (3,)] == connection.execute("SELECT id FROM note ORDER BY id").fetchall()


def test_work_before_the_commit_is_done_once_however_often_it_was_asked_for(closed_database: Database) -> None:
    """And not at all when the transaction is undone."""
    count, find = "UPDATE counter SET number = number + 1", "SELECT number FROM counter"
    with closed_database.session() as connection:
        connection.before_commit(count)
        connection.before_commit(count)
        before = connection.execute(find).fetchone()
    with closed_database.session() as connection:
        connection.before_commit(count)
        connection.rollback()
        connection.begin()

    with closed_database.session() as connection:
        assert ((0,), (1,)) == (before, connection.execute(find).fetchone())


def test_a_commit_that_wrote_nothing_says_so(postgres_database_url: str) -> None:
    """PostgreSQL answers COMMIT after a hidden failure with a rollback; that is never taken for a commit."""

    def clash_and_hide(connection: Connection) -> None:
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO note (id) VALUES (1)")
        with pytest.raises(Conflict):
            connection.execute("INSERT INTO note (id) VALUES (1)")

    with pytest.raises(TransactionAborted), open_database(postgres_database_url).session() as connection:
        clash_and_hide(connection)


def test_a_lost_connection_is_unavailable_and_its_commit_unknown(postgres_database_url: str) -> None:
    """A statement that fails was surely not done; only a commit can leave a doubt."""
    end_the_others = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    database = open_database(postgres_database_url)
    failed: list[StorageUnavailable] = []

    def lose(connection: Connection) -> None:
        with database.session() as other:
            other.execute(end_the_others)
        connection.abort()
        with pytest.raises(StorageUnavailable) as statement, connection.savepoint():
            connection.execute("SELECT 1")
        with pytest.raises(StorageUnavailable) as many:
            connection.insert("INSERT INTO note (id)", [(1,)])
        failed.extend((statement.value, many.value))

    with pytest.raises(StorageUnavailable) as commit, database.session() as connection:
        lose(connection)

    assert [False, False, True] == [error.outcome_unknown for error in (*failed, commit.value)]


def test_the_clock_is_told_in_microseconds(connection: Connection) -> None:
    """The database's clock, which here is this machine's."""
    assert abs(time.time_ns() // 1000 - connection.now()) < 10_000_000
