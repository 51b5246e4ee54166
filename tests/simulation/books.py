"""The real database under the simulation: SQLite, workers that take turns on virtual time, and a driver that fails to order.

Only what was committed survives a process's death, because its connection is closed and SQLite undoes the rest.
"""

from __future__ import annotations

import asyncio
import queue
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.connection import Connection
from storage.database import Database, open_database
from storage.worker import Job, Worker
from tests.simulation.clock import Died, Process, VirtualLoop

Fault = Callable[[str], str]
"""From a statement to what happens to it: "" nothing, or one of `die`, `die after`, `fail`, `lose` (done, answer lost)."""


class _Queue:
    """A queue that tells its worker of what comes in."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._waiting: list[Job | None] = []
        self._wake = wake

    def put(self, job: Job | None) -> None:
        self._waiting.append(job)
        self._wake()

    def get_nowait(self) -> Job | None:
        if not self._waiting:
            raise queue.Empty
        return self._waiting.pop(0)

    def qsize(self) -> int:
        return len(self._waiting)


class Turns(Worker):
    """The worker without a thread: one batch at a time, each after a delay from the seed, as a callback of the loop."""

    delay: Callable[[], float]
    died: Callable[[], None]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._queue = _Queue(self._wake)  # type: ignore[assignment]
        self._due = False

    def start(self) -> None:
        """Take turns on the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._open = True

    async def close(self) -> None:
        """The simulation closes connections itself."""
        self._open = False

    def _wake(self) -> None:
        if not self._due and self._queue.qsize() and self._loop is not None:
            self._due = True
            self._loop.call_later(self.delay(), self._turn)

    def _turn(self) -> None:
        try:
            first = self._queue.get_nowait()
            assert first is not None
            self._serve_batch(first)
        except Died:
            self._disconnect()
            self.died()
            return
        # The thread goes on at once; its answer is a little later on the loop.
        self._due = False
        self._wake()

    def _answer(self, batch: list[Job], seconds: float | None) -> None:
        assert self._loop is not None
        self._loop.call_soon(self._deliver, batch, seconds)


class _Cursor:
    def __init__(self, cursor: Any, driver: _Driver) -> None:
        self._cursor = cursor
        self._driver = driver

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        return self._driver.perform(sql, lambda: self._cursor.execute(sql, parameters))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._driver.perform(sql, lambda: self._cursor.executemany(sql, rows))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


class _Driver:
    """A connection of the driver, between the gateway and its database."""

    def __init__(self, driver: Any, fault: Fault, committed: Callable[[bool], None]) -> None:
        self._driver = driver
        self._fault = fault
        self._committed = committed

    def cursor(self) -> _Cursor:
        return _Cursor(self._driver.cursor(), self)

    def perform(self, sql: str, work: Callable[[], Any]) -> Any:
        fault = self._fault(sql)
        if fault == "die":
            raise Died
        if fault == "fail":
            raise sqlite3.OperationalError("disk I/O error")
        result = work()
        if sql == "COMMIT":
            self._committed(bool(fault))
        if fault == "die after":
            raise Died
        if fault == "lose":
            raise sqlite3.OperationalError("disk I/O error, after the fact")
        return result


class Faults:
    """What the seed does to one process's database work; `healthy` turns all of it off."""

    def __init__(self, dice: random.Random, process: Process, loop: VirtualLoop) -> None:
        self._dice = dice
        self._process = process
        self._loop = loop
        self.away_until = 0.0
        self.die_at_statement: int | None = None
        self.die_at_commit: tuple[int, str] | None = None
        self.lost = 0.0
        self.failing = 0.0
        self.slow = 0.0
        self._statements = self._commits = 0

    def healthy(self) -> None:
        """From now on nothing goes wrong."""
        self.away_until = self.lost = self.failing = self.slow = 0.0
        self.die_at_statement = self.die_at_commit = None

    def delay(self) -> float:
        """How long the next batch waits for the disk."""
        if self._dice.random() < self.slow:
            return self._dice.choice((0.5, 3.0, 12.0))
        return self._dice.choice((0.0, 0.001, 0.001, 0.005, 0.05))

    def __call__(self, sql: str) -> str:
        """The fate of a statement."""
        if sql == "ROLLBACK" or sql == "BEGIN":
            return ""
        if self._loop.time() < self.away_until:
            return "fail"
        self._statements += 1
        if self._statements == self.die_at_statement:
            return "die"
        if sql != "COMMIT":
            return "fail" if self.failing and self._dice.random() < self.failing / 10 else ""
        self._commits += 1
        if self.die_at_commit is not None and self.die_at_commit[0] == self._commits:
            return self.die_at_commit[1]
        chance = self._dice.random()
        if chance < self.lost:
            return "lose"
        return "fail" if chance < self.lost + self.failing else ""


def open_books(
    path: Path,
    faults: Faults,
    died: Callable[[], None],
    committed: Callable[[bool], None],
) -> Database:
    """The production database on a file, its workers and driver in the hands of `faults`."""

    class TakingTurns(Turns):
        pass

    TakingTurns.delay = staticmethod(faults.delay)  # type: ignore[assignment]
    TakingTurns.died = staticmethod(died)  # type: ignore[assignment]

    class Books(Database):
        worker = TakingTurns

        def _connect(self, *, prepare: bool) -> Connection:
            connection = super()._connect(prepare=prepare)
            connection._driver = _Driver(connection._driver, faults, committed)
            return connection

    return Books(open_database(f"sqlite:///{path}")._engine)
