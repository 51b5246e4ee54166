"""One connection to the database of record, reduced to what storage functions need: run a statement, begin, commit, undo.

Statements are written once, with ``?`` for a parameter and ``IN (??)`` for a list as one parameter; the connection says them
in the words of its database. Nothing here knows which database that is: the differences come in a Dialect, which
storage/database.py makes.

Errors of the driver become two of ours: Conflict (a rule of the schema refused the data) and StorageUnavailable (the
database cannot be reached, is locked, is full). Everything else is a mistake in our own SQL and passes as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol


class StorageUnavailable(Exception):
    """The database could not do the work now: unreachable, locked for too long, full, or its queue is full.

    Nothing was done, unless `outcome_unknown`: then COMMIT was sent and its answer was lost, and the work may have been
    done. Work that is keyed by an id of its own can simply be submitted again.
    """

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class Conflict(Exception):
    """A rule of the schema refused the data: a unique column, a check, an entry that must not change."""


class TransactionAborted(Exception):
    """COMMIT was answered with a rollback, because a job had hidden a failed statement. Nothing was written."""


class Cursor(Protocol):
    """What a statement returns: its rows, once."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> tuple[Any, ...] | None: ...
    def fetchall(self) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of database wants said differently."""

    placeholder: str
    begin: str
    """Begins a transaction that will write."""
    begin_snapshot: str
    """Begins a transaction that only reads, and sees one state of the database throughout."""
    conflict_errors: tuple[type[Exception], ...]
    unavailable_errors: tuple[type[Exception], ...]
    committed: Callable[[Any], bool]
    """Whether the cursor that ran COMMIT really committed."""
    clock: str | None
    """Asks the database server's clock for microseconds; None where the database has no clock of its own."""
    retries: int
    """How often work that surely was not done is tried again at once, on a new connection."""
    among: str
    """What stands for `IN (??)`: a column is one of the values of one parameter."""
    many: Callable[[Sequence[str]], object]
    """Makes that parameter of some texts."""
    insert: Callable[[Any, str, Sequence[Sequence[object]]], None]
    """With a cursor: write rows behind "INSERT INTO table (columns)", of which there is at least one."""
    lock_accounts: str | None
    """Locks the rows of some accounts in the order of their ids; None where a transaction locks everything anyway."""


class _Statements(dict[str, str]):
    """Statements in the words of one dialect; each is translated once."""

    def __init__(self, placeholder: str, among: str) -> None:
        super().__init__()
        self._placeholder = placeholder
        self._among = among

    def __missing__(self, sql: str) -> str:
        translated = sql
        if self._placeholder != "?":
            translated = translated.replace("%", "%%")
        translated = translated.replace("IN (??)", self._among)
        if self._placeholder != "?":
            translated = translated.replace("?", self._placeholder)
        self[sql] = translated
        return translated


class Connection:
    """A connection owned by one thread. Statements outside begin and commit are their own transactions.

    The rows of a statement must be fetched before the next one is run.
    """

    def __init__(
        self, driver: Any, dialect: Dialect, close: Callable[[], None], abort: Callable[[], None] | None = None
    ) -> None:
        self._driver = driver
        self._dialect = dialect
        self._close = close
        self._abort = abort
        self._statements = _Statements(dialect.placeholder, dialect.among)
        self.many = dialect.many
        self._before_commit: dict[str, None] = {}

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        """Run one statement. Raises Conflict or StorageUnavailable."""
        dialect = self._dialect
        try:
            cursor: Cursor = self._driver.cursor()
            cursor.execute(self._statements[sql], parameters)  # type: ignore[attr-defined]
        except dialect.conflict_errors as error:
            raise Conflict(_one_line(error)) from error
        except dialect.unavailable_errors as error:
            raise StorageUnavailable(_one_line(error)) from error
        return cursor

    def insert(self, into: str, rows: Sequence[Sequence[object]]) -> None:
        """Write rows of equal width behind `into`, "INSERT INTO table (columns)". Raises Conflict or StorageUnavailable."""
        if not rows:
            return
        dialect = self._dialect
        try:
            dialect.insert(self._driver.cursor(), into, rows)
        except dialect.conflict_errors as error:
            raise Conflict(_one_line(error)) from error
        except dialect.unavailable_errors as error:
            raise StorageUnavailable(_one_line(error)) from error

    def lock_accounts(self, account_ids: Sequence[str]) -> None:
        """Lock accounts in the order in which everybody locks them, before a batch changes them in an order of its own."""
        if self._dialect.lock_accounts is not None:
            self.execute(self._dialect.lock_accounts, (self.many(account_ids),))

    def now(self) -> int:
        """Microseconds since 1970, UTC, by the database server's clock, so that nodes whose clocks differ agree."""
        if self._dialect.clock is None:
            return time.time_ns() // 1000
        row = self.execute(self._dialect.clock).fetchone()
        assert row is not None
        return int(row[0])

    def before_commit(self, sql: str) -> None:
        """Run `sql` once, right before the transaction in progress commits, however often it is asked for.

        For rows that everybody writes: locked last and briefly, they cannot make two processes wait for each other.
        """
        self._before_commit[sql] = None

    def begin(self) -> None:
        """Begin a transaction that will write."""
        self._before_commit.clear()
        self.execute(self._dialect.begin)

    def begin_snapshot(self) -> None:
        """Begin a transaction that only reads, and sees one state of the database throughout."""
        self.execute(self._dialect.begin_snapshot)

    def commit(self) -> None:
        """Make everything since begin durable. Raises StorageUnavailable (outcome unknown) or TransactionAborted."""
        for sql in self._before_commit:
            self.execute(sql)
        self._before_commit.clear()
        try:
            cursor = self._driver.cursor()
            cursor.execute("COMMIT")
        except self._dialect.unavailable_errors as error:
            self._raise_unknown(error)
        if not self._dialect.committed(cursor):
            raise TransactionAborted("a failed statement was hidden, so the whole transaction was undone")

    def _raise_unknown(self, error: Exception) -> NoReturn:
        """A lost COMMIT: undo what can be undone (a full disk leaves the transaction open), and say what is not known."""
        try:
            self._driver.cursor().execute("ROLLBACK")
        except self._dialect.unavailable_errors:
            pass  # The connection is gone, or there is nothing left to undo.
        raise StorageUnavailable(_one_line(error), outcome_unknown=True) from error

    def rollback(self) -> None:
        """Undo everything since begin."""
        self._before_commit.clear()
        self.execute("ROLLBACK")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was done inside, and only that, if it raises."""
        self.execute("SAVEPOINT job")
        try:
            yield
            self.execute("RELEASE SAVEPOINT job")
        except StorageUnavailable:
            raise
        except BaseException:
            self.execute("ROLLBACK TO SAVEPOINT job")
            self.execute("RELEASE SAVEPOINT job")
            raise

    def abort(self) -> None:
        """Break the connection from another thread, so that a statement that hangs in a dead network or server ends.

        Does nothing where the database cannot hang for longer than its own lock timeout.
        """
        if self._abort is not None:
            self._abort()

    def close(self) -> None:
        """Give the connection back; what was not committed is undone by the database."""
        self._close()


def _one_line(error: Exception) -> str:
    """A driver's message on one line, for logs and for people."""
    return " ".join(str(error).split()) or type(error).__name__
