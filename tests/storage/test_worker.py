"""The thread brings every job to an outcome, also when the database misbehaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import pytest

from storage.connection import Connection, StorageUnavailable
from storage.database import Database, open_database
from storage.worker import TURNS_LIMIT, Job, Worker, group_commit, snapshots

CREATE = "CREATE TABLE note (id INTEGER PRIMARY KEY)"
UNKNOWN = StorageUnavailable("the line went dead", outcome_unknown=True)
NOT_DONE = StorageUnavailable("the line went dead")


@pytest.fixture
def notes(sqlite_database_url: str) -> Database:
    """A SQLite file with a table of notes."""
    database = open_database(sqlite_database_url)
    with database.session() as connection:
        connection.execute(CREATE)
    return database


def write(connection: Connection, number: int) -> int:
    connection.execute("INSERT INTO note (id) VALUES (?)", (number,))
    return number


def numbers(database: Database) -> list[int]:
    with database.session() as connection:
        return [row[0] for row in connection.execute("SELECT id FROM note ORDER BY id").fetchall()]


def failing(faults: Iterable[Exception | None], *, after: bool = False) -> Callable[[Connection, Sequence[Job]], None]:
    """Group commit that meets the given faults, one a batch, before the work or right after its commit."""
    waiting = iter(faults)

    def perform(connection: Connection, jobs: Sequence[Job]) -> None:
        fault = next(waiting, None)
        if fault is not None and not after:
            raise fault
        group_commit(connection, jobs)
        if fault is not None:
            raise fault

    return perform


def worker(database: Database, perform: Callable[[Connection, Sequence[Job]], None], *, retries: int = 1) -> Worker:
    """A started worker over connections of this database."""
    started = Worker(
        "test", lambda: database._connect(prepare=True), perform, batch_limit=10, queue_limit=1000, retries=retries
    )
    started.start()
    return started


async def test_what_the_loop_submits_turn_after_turn_is_one_batch(notes: Database) -> None:
    """Also to a thread that has nothing to do: the first of them does not cost a commit of its own; but nobody waits for ever."""
    sizes: list[int] = []
    writer = worker(notes, group_commit)
    writer.on_batch = lambda _, size: sizes.append(size)

    for start in (0, 10, 20):
        await asyncio.gather(*[writer.run(write, (start + number,)) for number in range(5)])
    assert [5, 5, 5] == sizes
    tasks = [asyncio.ensure_future(writer.run(write, (100,)))]
    while not tasks[0].done() and len(tasks) < 900:
        time.sleep(0.001)  # A busy turn, in which the thread can work.
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(writer.run(write, (100 + len(tasks),))))
    assert tasks[0].done()
    assert sizes[3] >= TURNS_LIMIT
    await asyncio.gather(*tasks)

    left = [asyncio.ensure_future(writer.run(write, (number,))) for number in (30, 31)]
    await asyncio.sleep(0)
    await writer.close()
    assert 2 == sizes[-1]
    assert all(task.done() for task in left)


async def test_what_surely_was_not_done_is_done_on_a_new_connection(notes: Database) -> None:
    """Nobody notices a connection that had grown stale."""
    writer = worker(notes, failing([None, NOT_DONE]))
    assert 1 == await writer.run(write, (1,))

    assert 2 == await writer.run(write, (2,))

    await writer.close()
    assert [1, 2] == numbers(notes)


async def test_what_fails_again_is_unavailable_for_everybody_waiting(notes: Database) -> None:
    """Those who wait behind it are told at once, and the next job works again."""
    writer = worker(notes, failing([None, NOT_DONE, NOT_DONE]))
    await writer.run(write, (0,))

    outcomes = await asyncio.gather(*[writer.run(write, (number,)) for number in range(1, 40)], return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, StorageUnavailable)]
    done = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert {"the line went dead"} == {str(error) for error in refused}
    assert not any(error.outcome_unknown for error in refused)
    assert 0 == writer.waiting
    assert 40 == await writer.run(write, (40,))
    await writer.close()
    assert sorted([0, *done, 40]) == numbers(notes)


async def test_a_commit_whose_answer_was_lost_is_not_tried_again(notes: Database) -> None:
    """It may have been done: `on_doubt` is told, whether somebody waits or not, and `on_orphan` is not."""
    told: list[str] = []
    writer = worker(notes, failing([None, UNKNOWN], after=True))
    await writer.run(write, (0,))

    def submit(number: int, name: str) -> asyncio.Task[int]:
        return asyncio.create_task(
            writer.run(write, (number,), "", lambda result: told.append(f"orphan {result}"), lambda: told.append(name))
        )

    waited, left = submit(1, "waited"), submit(2, "left")
    await asyncio.sleep(0)
    left.cancel()
    outcomes = await asyncio.gather(waited, left, return_exceptions=True)
    await writer.close()
    await asyncio.sleep(0)

    assert isinstance(outcomes[0], StorageUnavailable)
    assert outcomes[0].outcome_unknown
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert ["left", "waited"] == sorted(told)
    assert [0, 1, 2] == numbers(notes)


async def test_a_database_lost_in_the_second_run_of_a_batch_is_no_outcome_of_a_job(notes: Database) -> None:
    """A job failed, the batch runs again with savepoints, and the line goes dead: nobody's work is half done."""
    lost: list[int] = []

    def lose(connection: Connection) -> None:
        write(connection, 1)
        lost.append(1)
        if len(lost) == 2:
            raise NOT_DONE
        raise LookupError("changed its mind")

    writer = worker(notes, group_commit)
    await writer.run(write, (0,))

    outcomes = await asyncio.gather(writer.run(lose, ()), writer.run(write, (2,)), return_exceptions=True)

    assert ["changed its mind", "2"] == [str(outcome) for outcome in outcomes]
    await writer.close()
    assert [0, 2] == numbers(notes)


async def test_an_error_nobody_knows_does_not_end_the_thread(notes: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Everybody waiting is told, the operator finds it in the log, and the next job works."""
    writer = worker(notes, failing([RuntimeError("cosmic ray")]))

    with pytest.raises(StorageUnavailable, match="RuntimeError: cosmic ray"):
        await writer.run(write, (1,))

    assert 2 == await writer.run(write, (2,))
    assert "cosmic ray" in caplog.text
    await writer.close()


async def test_a_waiter_cancelled_in_the_turn_its_outcome_came_leaves_an_orphan(notes: Database) -> None:
    """There is no moment in which a result is lost."""
    orphans: list[int] = []
    writer = worker(notes, group_commit)

    async def wait() -> int:
        return await writer.run(write, (1,), "", orphans.append)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deliver = writer._deliver

    def deliver_and_cancel(batch: list[Job], seconds: float | None) -> None:
        deliver(batch, seconds)
        task.cancel()

    writer._deliver = deliver_and_cancel  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await task
    await writer.close()

    assert [1] == orphans


async def test_an_orphan_s_callback_that_fails_does_not_harm_its_neighbours(notes: Database) -> None:
    """The others of the batch are woken all the same; the loop reports the failure."""
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(str(context["exception"])))
    writer = worker(notes, group_commit)

    def broken(_result: int) -> None:
        raise LookupError("callback")

    left = asyncio.create_task(writer.run(write, (1,), "", broken))
    stayed = asyncio.create_task(writer.run(write, (2,)))
    await asyncio.sleep(0)
    left.cancel()

    assert 2 == await stayed
    await writer.close()
    assert ["callback"] == reported


async def test_reading_again_after_a_lost_connection(notes: Database) -> None:
    """A reader, too, does on a new connection what it could not do on a stale one."""
    tries: list[int] = []

    def query(connection: Connection) -> int:
        tries.append(1)
        if len(tries) == 2:
            raise StorageUnavailable("gone")
        row = connection.execute("SELECT 5").fetchone()
        assert row is not None
        return int(row[0])

    reader = worker(notes, snapshots)
    assert 5 == await reader.run(query, ())

    assert 5 == await reader.run(query, ())
    assert 3 == len(tries)
    await reader.close()


async def test_a_worker_that_was_never_started_refuses_and_closes(notes: Database) -> None:
    """No waiter can be left behind by a mistake in starting up."""
    idle = Worker("idle", lambda: notes._connect(prepare=True), group_commit, batch_limit=1, queue_limit=1, retries=0)

    with pytest.raises(StorageUnavailable, match="closed"):
        await idle.run(write, (1,))

    idle.abort()
    await idle.close()


async def test_a_loop_that_ended_first_does_not_hang_the_thread(notes: Database) -> None:
    """A program that forgot to close: the thread's answer has nobody to go to, and the thread lives on to be stopped."""

    def outlive(_connection: Connection) -> None:
        finished.wait(5)

    finished = threading.Event()
    left: list[Worker] = []

    async def forget() -> None:
        writer = worker(notes, group_commit)
        left.append(writer)
        waiter = asyncio.create_task(writer.run(outlive, ()))
        await asyncio.sleep(0)
        waiter.cancel()

    await asyncio.to_thread(asyncio.run, forget())
    finished.set()
    left[0]._queue.put(None)
    await asyncio.to_thread(left[0]._thread.join, 5)

    assert not left[0]._thread.is_alive()
