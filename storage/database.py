"""From a URL to a database of record: connections, the thread that writes, the thread that reads.

Only this file and storage/declarations.py tell SQLite from PostgreSQL. Everything above them writes its SQL once.

One thread writes, on one connection, and commits in groups (storage/worker.py says how); another reads. A process that
wants more writes than one thread can do is a second process. SQLite runs with a write-ahead log and a full sync per
commit: a charge that was acknowledged survives a power cut.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import itertools
import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import peewee

from storage.connection import Conflict, Connection, Cursor, Dialect, StorageUnavailable
from storage.worker import Together, Worker, group_commit, snapshots

__all__ = [
    "Conflict",
    "Connection",
    "Cursor",
    "Database",
    "StorageUnavailable",
    "open_database",
]

T = TypeVar("T")

BATCH_LIMIT = 256
"""Jobs in one transaction: few enough that the last of a batch does not wait long for the first."""
STALL_SECONDS = 5.0
"""A statement that a network or a server lets hang for longer is broken off; SQLite waits as long for a lock."""
CONNECT_SECONDS = 2
LET_GO = (
    "SET lock_timeout = '4s'",
    "SET idle_in_transaction_session_timeout = '30s'",
    "SET tcp_user_timeout = '5s'",
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 1",
)
"""What a connection asks of PostgreSQL. Who waits for a lock must say so before it is broken off; a process that is frozen inside
a transaction must not keep its locks; nor must one that the network has cut off, which the server would learn only when TCP next
thinks fit to try again, or in two hours (PostgreSQL, "Connection Settings")."""
ROWS_AT_ONCE = 32
"""Rows that SQLite writes by one statement."""
STATEMENTS_KEPT = 512
"""Prepared statements that SQLite's driver keeps: there is one for each number of rows."""
MIGRATION_LOCK = 0x66696E64746F6B65
"""The number of the PostgreSQL advisory lock that migrations take; any number that nobody else uses ("findtoke")."""


class _Breaker:
    """Shuts a connection's socket down from another thread, through a descriptor of its own that nobody can reuse."""

    def __init__(self, driver: Any) -> None:
        self._socket = socket.socket(fileno=os.dup(driver.fileno()))

    def abort(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Already broken, which is what was wanted.

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class _Engine:
    """One kind of database: how to reach it, and its dialect."""

    peewee: Callable[[], Any]
    """A peewee database, not yet connected."""
    dialect: Dialect
    breaker: Callable[[Any], _Breaker] | None
    """From a driver's connection to what breaks it from another thread; None where nothing can hang."""
    prepare: tuple[str, ...]
    """Said once on each connection of the two threads."""
    migration_lock: Callable[[Any], AbstractContextManager[None]]
    """From a connected peewee database to a lock that one process at a time can hold."""


class Database:
    """The database of record. Made by `open_database`; `start` before `run` and `read`, `session` at any time."""

    worker: type[Worker] = Worker
    """What serves the jobs: a thread. The simulation of tests/simulation/ puts a clock of its own in its place."""

    def __init__(self, engine: _Engine, *, queue_limit: int = 10_000, stall_seconds: float = STALL_SECONDS) -> None:
        self.on_commit: Callable[[float, int], None] | None = None
        """Called on the loop after each batch written, with its seconds and its number of jobs; for metrics."""
        self._engine = engine
        self._stall_seconds = stall_seconds
        retries = engine.dialect.retries
        self._writer = self.worker(
            "ledger-writer",
            lambda: self._connect(prepare=True),
            group_commit,
            batch_limit=BATCH_LIMIT,
            queue_limit=queue_limit,
            retries=retries,
        )
        self._reader = self.worker(
            "ledger-reader",
            lambda: self._connect(prepare=True),
            snapshots,
            batch_limit=1,
            queue_limit=queue_limit,
            retries=retries,
        )
        self._stall_watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the two threads. Connections are made when first needed, so a database that is down does not stop us."""
        self._writer.on_batch = self._report_commit
        self._writer.start()
        self._reader.start()
        self._stall_watch = asyncio.create_task(self._watch_for_stalls())

    async def close(self) -> None:
        """Bring everything submitted before to its outcome, then end the threads."""
        await self._writer.close()
        await self._reader.close()
        if self._stall_watch is not None:
            self._stall_watch.cancel()
            await asyncio.wait({self._stall_watch})
            self._stall_watch = None

    def run(
        self,
        job: Callable[..., T],
        *arguments: Any,
        key: str = "",
        on_orphan: Callable[[T], None] | None = None,
        on_doubt: Callable[[], None] | None = None,
        together: Together | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run `job(connection, *arguments)` in the writer's next transaction and return its result once it is durable.

        `key` is the account the job is about: batches are sorted by it, so that processes lock rows in one order.
        `together(connection, [arguments, …])` does many such jobs of one batch at once and returns their results in order.
        Cancelling the waiter never cancels the job: `on_orphan` is then called on the loop with the result, if the job
        was done. `on_doubt` is called when the answer to the commit was lost. A job that raises undoes only itself, at
        the price of running its whole batch again: return refusals that are to be expected. Raises whatever the job
        raises, Conflict, and StorageUnavailable (at once when too many jobs are waiting).
        """
        return self._writer.run(job, arguments, key, on_orphan, on_doubt, together)

    def read(self, query: Callable[..., T], *arguments: Any) -> Coroutine[Any, Any, T]:
        """Run `query(connection, *arguments)` on the reader; it sees one state of what is committed, and writes nothing.

        Raises whatever the query raises, and StorageUnavailable.
        """
        return self._reader.run(query, arguments)

    async def ping(self) -> None:
        """Prove that the database answers, and that it lately took what was written. Raises StorageUnavailable."""
        await self.read(_ping)
        if self._writer.failing:
            raise StorageUnavailable("the database can be read, and not be written")

    def mark_writable(self) -> None:
        """Something was surely written: after a failure nobody else knows, for a job that changes nothing can be done."""
        self._writer.failing = False

    @property
    def queue_length(self) -> int:
        """Jobs submitted to the writer and not yet answered."""
        return self._writer.waiting

    @contextmanager
    def session(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """One transaction on a connection of its own, for commands: committed at the end, undone if the body raises.

        With `snapshot` it only reads, and sees one state of the database throughout while others write.
        Raises StorageUnavailable and Conflict.
        """
        with closing(self._connect(prepare=False)) as connection:
            if snapshot:
                connection.begin_snapshot()
            else:
                connection.begin()
            try:
                yield connection
            except StorageUnavailable:
                raise
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def schema(self, *, exclusive: bool) -> Iterator[Any]:
        """A connected peewee database, for migrations; `exclusive` waits until no other process is migrating.

        Raises StorageUnavailable.
        """
        database = self._open_peewee()
        try:
            if not exclusive:
                yield database
                return
            with self._engine.migration_lock(database):
                yield database
        finally:
            database.close()

    def _open_peewee(self) -> Any:
        database = self._engine.peewee()
        try:
            database.connect()
        except peewee.PeeweeException as error:
            raise StorageUnavailable(f"the database cannot be opened: {' '.join(str(error).split())}") from error
        return database

    def _connect(self, *, prepare: bool) -> Connection:
        database = self._open_peewee()
        driver = database.connection()
        breaker = self._engine.breaker(driver) if self._engine.breaker is not None else None

        def close() -> None:
            database.close()
            if breaker is not None:
                breaker.close()

        connection = Connection(driver, self._engine.dialect, close, breaker.abort if breaker is not None else None)
        for sql in self._engine.prepare if prepare else ():
            connection.execute(sql)
        return connection

    def _report_commit(self, seconds: float, jobs: int) -> None:
        if self.on_commit is not None:
            self.on_commit(seconds, jobs)

    async def _watch_for_stalls(self) -> None:
        """Break off what hangs, so that everybody who waits for it is told."""
        while True:
            await asyncio.sleep(self._stall_seconds / 5)
            for worker in (self._writer, self._reader):
                busy_since = worker.busy_since
                if busy_since is not None and time.monotonic() - busy_since > self._stall_seconds:
                    worker.abort()


def _ping(connection: Connection) -> None:
    connection.execute("SELECT 1").fetchone()


def open_database(url: str, *, queue_limit: int = 10_000, stall_seconds: float = STALL_SECONDS) -> Database:
    """The database a URL names; nothing is opened yet.

    `sqlite:///relative.db`, `sqlite:////absolute/path.db` or `postgresql://user:password@host:5432/name`.
    Raises ValueError with a sentence for the operator.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        path = rest.removeprefix("/").partition("?")[0]
        if not rest.startswith("/") or not path or path == ":memory:":
            raise ValueError(
                "a SQLite database is a file, with three slashes for a relative path (sqlite:///find-token.db) "
                "and four for an absolute one (sqlite:////var/lib/find-token.db)"
            )
        return Database(_sqlite(Path(path), stall_seconds), queue_limit=queue_limit, stall_seconds=stall_seconds)
    if separator and scheme in ("postgresql", "postgres"):
        return Database(_postgresql(url), queue_limit=queue_limit, stall_seconds=stall_seconds)
    shown = re.sub(r"//[^@/]*@", "//…@", url)
    raise ValueError(
        f"a database is sqlite:///find-token.db or postgresql://user:password@host:5432/name, not {shown!r}"
    )


def _sqlite(path: Path, lock_seconds: float) -> _Engine:
    def make() -> Any:
        return peewee.SqliteDatabase(
            str(path),
            lock_type="IMMEDIATE",
            timeout=lock_seconds,
            cached_statements=STATEMENTS_KEPT,
            # busy_timeout comes first: switching to the write-ahead log may itself have to wait for a lock.
            pragmas=[
                ("busy_timeout", int(lock_seconds * 1000)),
                ("journal_mode", "wal"),
                ("synchronous", "FULL"),
                ("foreign_keys", 1),
            ],
        )

    @contextmanager
    def migration_lock(_database: Any) -> Iterator[None]:
        # Not the database's own lock: each migration is a transaction of its own, and this spans them all.
        with path.with_name(path.name + ".migrate.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    dialect = Dialect(
        placeholder="?",
        begin="BEGIN IMMEDIATE",
        begin_snapshot="BEGIN",
        conflict_errors=(sqlite3.IntegrityError,),
        unavailable_errors=(sqlite3.OperationalError, sqlite3.InterfaceError),
        committed=lambda _cursor: True,
        clock=None,
        retries=0,
        among="IN (SELECT value FROM json_each(?))",
        many=lambda texts: json.dumps(list(texts)),
        insert=_insert_rows_in_sqlite,
        lock_accounts=None,
    )
    return _Engine(make, dialect, breaker=None, prepare=(), migration_lock=migration_lock)


def _insert_rows_in_sqlite(cursor: Any, into: str, rows: Sequence[Sequence[object]]) -> None:
    """Several rows in one statement: the interpreter's lock changes hands at each, and executemany is one for each row."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        values = part[0] if len(part) == 1 else list(itertools.chain.from_iterable(part))
        cursor.execute(_insert_statement(into, len(part[0]), len(part)), values)


@functools.cache
def _insert_statement(into: str, width: int, rows: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"{into} VALUES {', '.join([row] * rows)}"


def _postgresql(url: str) -> _Engine:
    try:
        import psycopg2.extras  # an optional dependency, loaded only for those who name PostgreSQL
    except ImportError:
        raise ValueError("PostgreSQL needs the package psycopg2: run `make drivers` in find-token's folder") from None

    def make() -> Any:
        return peewee.PostgresqlDatabase(url, connect_timeout=CONNECT_SECONDS, application_name="find-token")

    @contextmanager
    def migration_lock(database: Any) -> Iterator[None]:
        database.execute_sql("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        try:
            yield
        finally:
            database.execute_sql("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))

    dialect = Dialect(
        placeholder="%s",
        begin="BEGIN ISOLATION LEVEL READ COMMITTED",
        begin_snapshot="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        # A trigger that refuses a change raises an exception of its own class.
        conflict_errors=(psycopg2.IntegrityError, psycopg2.errors.RaiseException),
        unavailable_errors=(psycopg2.OperationalError, psycopg2.InterfaceError),
        # PostgreSQL answers COMMIT with ROLLBACK, and without an error, when a statement had failed before.
        committed=lambda cursor: bool(cursor.statusmessage == "COMMIT"),
        clock="SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
        retries=1,
        among="= ANY(?)",
        many=list,
        insert=lambda cursor, into, rows: psycopg2.extras.execute_values(
            cursor, f"{into} VALUES %s", rows, page_size=len(rows)
        ),
        lock_accounts="SELECT id FROM account WHERE id IN (??) ORDER BY id FOR UPDATE",
    )
    return _Engine(make, dialect, _Breaker, LET_GO, migration_lock)
