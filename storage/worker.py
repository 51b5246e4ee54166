"""A thread that owns one database connection and does jobs for the event loop, each to an outcome.

A job is a function of a connection. It is submitted with `run` and always reaches an outcome: cancelling the task that
waits for it never cancels the job, because nobody could tell whether a statement in flight was still in time.

Two ways of doing jobs:

* `group_commit`: everything that has gathered while the disk was busy, or while the event loop brought more of it,
  becomes one transaction, so that durability costs one commit per batch. Each job is isolated from the others as if
  it stood in a savepoint of its own: the batch first runs without any, and only when a job raises is everything
  undone and run again with a savepoint per job. Jobs therefore must be functions of the database and their arguments
  alone, so that running one twice before the commit is as good as once; and a refusal that is to be expected is
  better returned than raised. Jobs of one kind that a batch has several of are done by one call, if their kind has a
  function for that (`together`); in the second run each is done by itself.
* `snapshots`: each job reads one state of the database and writes nothing.

A batch is sorted by the jobs' keys (account ids), so that several processes lock rows in the same order; in the order
of arrival they deadlock on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from storage.connection import Connection, StorageUnavailable

T = TypeVar("T")

Together: TypeAlias = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Does many jobs of one kind: from a connection and each job's arguments to each job's result, in order."""

TURNS_LIMIT = 4
"""For how many turns of the loop jobs gather at most before the thread is given them."""

_log = logging.getLogger(__name__)


class Job:
    """One piece of work, who waits for it, and what came of it."""

    __slots__ = ("arguments", "error", "function", "future", "key", "on_doubt", "on_orphan", "result", "together")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        future: asyncio.Future[Any],
        key: str,
        on_orphan: Callable[[Any], None] | None,
        on_doubt: Callable[[], None] | None,
        together: Together | None = None,
    ) -> None:
        self.together = together
        self.function = function
        self.arguments = arguments
        self.future = future
        self.key = key
        self.on_orphan = on_orphan
        self.on_doubt = on_doubt
        self.result: Any = None
        self.error: Exception | None = None


def group_commit(connection: Connection, jobs: Sequence[Job]) -> None:
    """Do the jobs in one transaction; see the top of this file. Raises StorageUnavailable, and then none is done."""
    connection.begin()
    try:
        _do_together(connection, jobs)
        connection.commit()
        return
    except StorageUnavailable:
        raise
    except Exception:  # noqa: BLE001 - whatever a job raised is its own outcome, found again in the second run
        connection.rollback()
    connection.begin()
    for job in jobs:
        _do_in_savepoint(connection, job)
    connection.commit()


def _do_together(connection: Connection, jobs: Sequence[Job]) -> None:
    """Do the jobs without savepoints, those of a kind at once."""
    kinds: dict[Together | Job, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.together or job, []).append(job)
        job.error = None
    if len(kinds) < len(jobs) and len(accounts := {job.key: None for job in jobs if job.key}) > 1:
        # Kinds come one after another, so their accounts no longer come in one order.
        connection.lock_accounts(list(accounts))
    for members in kinds.values():
        first = members[0]
        if first.together is None or len(members) == 1:
            first.result = first.function(connection, *first.arguments)
            continue
        results = first.together(connection, [job.arguments for job in members])
        for job, result in zip(members, results, strict=True):
            job.result = result


def _do_in_savepoint(connection: Connection, job: Job) -> None:
    try:
        with connection.savepoint():
            job.result = job.function(connection, *job.arguments)
    except StorageUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the job's own error, for whoever waits for the job
        job.result, job.error = None, error


def snapshots(connection: Connection, jobs: Sequence[Job]) -> None:
    """Do each job in a transaction that only reads. Raises StorageUnavailable."""
    for job in jobs:
        connection.begin_snapshot()
        try:
            job.result = job.function(connection, *job.arguments)
            job.error = None
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the job's own error, for whoever waits for the job
            job.error = error
        connection.rollback()


class Worker:
    """The thread, its queue, and the way back to the event loop."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        perform: Callable[[Connection, Sequence[Job]], None],
        *,
        batch_limit: int,
        queue_limit: int,
        retries: int,
    ) -> None:
        self.on_batch: Callable[[float, int], None] | None = None
        """Called on the loop after each batch that was done, with its seconds and its number of jobs."""
        self.waiting = 0
        """Jobs submitted and not yet answered."""
        self.busy_since: float | None = None
        """When the batch in progress began, on the monotonic clock; None while idle."""
        self.failing = False
        """Whether a batch could not be done, and nobody has said since that all is well."""
        self._connect = connect
        self._perform = perform
        self._batch_limit = batch_limit
        self._queue_limit = queue_limit
        self._open = False
        self._retries = retries
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gathering: list[Job] = []
        """Submitted in the last turns of the loop, and not yet handed over."""
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; outcomes come back to the loop that is running now."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._thread.start()

    async def close(self) -> None:
        """Finish everything submitted before, then end the thread. Later submissions are refused."""
        if not self._open:
            return
        self._open = False
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        # The last outcomes were handed to the loop before the thread ended: one turn, and they are delivered.
        await asyncio.sleep(0)

    async def run(
        self,
        function: Callable[..., T],
        arguments: tuple[Any, ...],
        key: str = "",
        on_orphan: Callable[[T], None] | None = None,
        on_doubt: Callable[[], None] | None = None,
        together: Together | None = None,
    ) -> T:
        """Submit a job and wait for its outcome. Cancelling this never cancels the job.

        `on_orphan` is called on the loop with the result of a job that was done when nobody waited any more;
        `on_doubt` when the answer to the commit was lost, whether somebody waits or not. Raises StorageUnavailable.
        """
        if self._loop is None or not self._open:
            raise StorageUnavailable("the database is closed")
        if self.waiting >= self._queue_limit:
            raise StorageUnavailable(f"{self.waiting} jobs wait for the database, which is the limit")
        future: asyncio.Future[T] = self._loop.create_future()
        self.waiting += 1
        if not self._gathering:
            self._loop.call_soon(self._wait_a_turn, 0, 1)
        self._gathering.append(Job(function, arguments, future, key, on_orphan, on_doubt, together))
        try:
            return await future
        except asyncio.CancelledError:
            # Cancelled before the outcome: the future is cancelled too and `_deliver` sees the orphan. Cancelled in
            # the same turn of the loop in which the outcome came: only this place can know that nobody saw it.
            if not future.cancelled() and future.exception() is None and on_orphan is not None:
                on_orphan(future.result())
            raise

    def _wait_a_turn(self, seen: int, turn: int) -> None:
        """Let jobs gather as long as every turn of the loop brings more of them.

        Woken by the first, the thread would commit that one alone while the others are on their way; and what a busy loop
        submits later, nobody else waits for meanwhile.
        """
        assert self._loop is not None
        if seen < len(self._gathering) < self._batch_limit and turn < TURNS_LIMIT:
            self._loop.call_soon(self._wait_a_turn, len(self._gathering), turn + 1)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        for job in self._gathering:
            self._queue.put(job)
        self._gathering.clear()

    def _serve(self) -> None:
        """The thread: gather, do, answer, until told to stop."""
        stopping = False
        while not stopping:
            first = self._queue.get()
            if first is None:
                break
            stopping = self._serve_batch(first)
        self._disconnect()

    def _serve_batch(self, first: Job) -> bool:
        """One turn of the thread: what has gathered behind `first`, to its outcomes. Whether the order to stop came."""
        batch, stopping = self._gather(first, self._batch_limit)
        self.busy_since = started = time.monotonic()
        error = self._do(batch)
        self.busy_since = None
        if error is None:
            self._answer(batch, time.monotonic() - started)
            return stopping
        self.failing = True
        # Whoever waits behind a batch that could not be done would only wait for the same thing again.
        more, stopped = self._gather(None, self._queue.qsize())
        for job in batch:
            job.result, job.error = None, StorageUnavailable(str(error), outcome_unknown=error.outcome_unknown)
        for job in more:
            job.error = StorageUnavailable(str(error))
        self._answer([*batch, *more], None)
        return stopping or stopped

    def _gather(self, first: Job | None, limit: int) -> tuple[list[Job], bool]:
        """Up to `limit` jobs that are waiting, in key order; and whether the order to stop was among them."""
        batch = [] if first is None else [first]
        while len(batch) < limit:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        batch.sort(key=_KEY)
        return batch, False

    def _do(self, batch: list[Job]) -> StorageUnavailable | None:
        """Do a batch. None, or why it could not be done.

        What surely was not done on a connection that had grown stale is tried again at once on a new one.
        """
        tries_left = 0 if self._connection is None else self._retries
        while True:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                self._perform(self._connection, batch)
                return None
            except StorageUnavailable as error:
                self._disconnect()
                if error.outcome_unknown or not tries_left:
                    return error
            except Exception as error:  # noqa: BLE001 - if this thread died, everybody would wait for ever
                _log.exception("the database thread met an error it does not know")
                self._disconnect()
                return StorageUnavailable(f"{type(error).__name__}: {error}", outcome_unknown=True)
            tries_left -= 1

    def abort(self) -> None:
        """From the loop: break the connection in use, so that a hanging statement ends in StorageUnavailable."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _answer(self, batch: list[Job], seconds: float | None) -> None:
        """Hand a batch's outcomes to the loop, all in one call."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver, batch, seconds)
        except RuntimeError:
            pass  # The loop was closed without closing us: nobody is left to be told.

    def _deliver(self, batch: list[Job], seconds: float | None) -> None:
        """On the loop: wake those who wait, and report the results that nobody waits for any more."""
        self.waiting -= len(batch)
        for job in batch:
            future, error = job.future, job.error
            if error is not None and job.on_doubt is not None and getattr(error, "outcome_unknown", False):
                asyncio.get_running_loop().call_soon(job.on_doubt)
            if not future.cancelled():
                if error is None:
                    future.set_result(job.result)
                else:
                    future.set_exception(error)
            elif error is None and job.on_orphan is not None:
                asyncio.get_running_loop().call_soon(job.on_orphan, job.result)
        if seconds is not None and self.on_batch is not None:
            self.on_batch(seconds, len(batch))


_KEY = attrgetter("key")
