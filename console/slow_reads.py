"""Reads that may look through the whole log or ledger: on a connection of their own, so that no call waits behind them.

One runs at a time, few wait, and nobody waits for ever. What may be a little old is kept for some seconds, so that a page that is
loaded again and again reads nothing again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from middlewares.errors import Refusal
from storage.database import Database

T = TypeVar("T")

MOST_WAITING: Final = 8
PATIENCE_SECONDS: Final = 20.0
KEPT_SECONDS: Final = 15.0
MOST_KEPT: Final = 32


class SlowReads:
    """The slow reads of one gateway."""

    def __init__(self, database: Database, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._database = database
        self._patience_seconds = patience_seconds
        self._one_at_a_time = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._kept: dict[tuple[Any, ...], tuple[float, Any]] = {}

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """Run `query(connection, *arguments)` in one state of the books.

        Raises a Refusal where too much waits or it takes too long, and whatever the query raises.
        """
        if len(self._running) >= MOST_WAITING:
            raise Refusal("overloaded", "too many pages read the books at this moment; try again in a while")
        task = asyncio.create_task(self._take_turn(query, arguments))
        self._running.add(task)
        task.add_done_callback(self._forget)
        try:
            # Shielded: whoever leaves must not let the next one begin beside a thread that still reads.
            async with asyncio.timeout(self._patience_seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Refusal(
                "overloaded", f"this takes longer than {self._patience_seconds:g} seconds; ask for less, or by command"
            ) from None

    async def read_kept(self, query: Callable[..., T], *arguments: Any) -> T:
        """The same, or what it gave some seconds ago."""
        key = (query, *arguments)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]  # type: ignore[no-any-return]  # kept under its own query
        found = await self.read(query, *arguments)
        self._kept.pop(key, None)
        self._kept[key] = (time.monotonic(), found)
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        return found

    async def _take_turn(self, query: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        async with self._one_at_a_time:
            return await self._begin(query, arguments)

    def _begin(self, query: Callable[..., T], arguments: tuple[Any, ...]) -> asyncio.Future[T]:
        """Read in a thread that a process does not wait for when it ends."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def tell(outcome: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("T", outcome))

        def run() -> None:
            outcome, error = None, None
            try:
                with self._database.session(snapshot=True) as connection:
                    outcome = query(connection, *arguments)
            except Exception as raised:  # noqa: BLE001 - whatever it is, whoever waits is told
                error = raised
            try:
                loop.call_soon_threadsafe(tell, outcome, error)
            except RuntimeError:
                pass  # The process is ending, and nobody waits any more.

        threading.Thread(target=run, name="slow-reader", daemon=True).start()
        return future

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Looked at, so that a failure nobody waited for is not reported as lost.
