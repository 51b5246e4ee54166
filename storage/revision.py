"""A number that grows with every change to keys, provider keys and accounts' status, and caches that live by it.

A gateway keeps what it looked up in memory and asks twice a second whether the number moved; if it did, everything
kept is forgotten. So a key revoked by any process stops working everywhere within a second, without a message bus.
A cache that has not heard the number for three seconds keeps nothing: it fails closed.

A process says in its row of `process` for which number it has forgotten. Whoever revokes a key can so wait until all have,
or until those that have not can keep nothing any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from storage.database import Connection, Database, StorageUnavailable

POLL_SECONDS = 0.5
TRUSTED_SECONDS = 3.0
"""For how long what is kept is believed without having heard the number."""

_BUMP = "UPDATE revision SET number = number + 1 WHERE id = 1"
_FIND = "SELECT number FROM revision WHERE id = 1"
_ACKNOWLEDGE = "UPDATE process SET revision = ? WHERE id = ?"
_BEHIND = "SELECT COUNT(*) FROM process WHERE id <> ? AND revision < ? AND heartbeat >= ?"
LOOK_SECONDS = 0.05
"""How often whoever waits for the others looks for them."""
ALIVE_SECONDS = 15
"""Who has not been heard for longer is not waited for: it is dead, or has not reached the database for longer than it
trusts what it keeps."""

Key = TypeVar("Key", bound=tuple[str, ...] | str)
Value = TypeVar("Value")


def bump_revision(connection: Connection) -> None:
    """Make every gateway forget what it knows of keys, from the commit of this transaction on."""
    connection.before_commit(_BUMP)


def find_revision(connection: Connection) -> int:
    """The number as it stands."""
    row = connection.execute(_FIND).fetchone()
    assert row is not None, "the revision row is made with the schema"
    return int(row[0])


def acknowledge(connection: Connection, process_id: str, revision: int) -> None:
    """This process has forgotten what it knew before that revision."""
    connection.execute(_ACKNOWLEDGE, (revision, process_id))


def count_behind(connection: Connection, process_id: str, revision: int) -> int:
    """How many other processes may still believe what they looked up before that revision."""
    since = connection.now() - ALIVE_SECONDS * 1_000_000
    row = connection.execute(_BEHIND, (process_id, revision, since)).fetchone()
    assert row is not None, "a count without rows is 0"
    return int(row[0])


class RevisionCache(Generic[Key, Value]):
    """Keeps what `load(connection, key)` found until the revision moves.

    What was not found is kept only with `keep_missing`: right where keys are our own, wrong where strangers choose them.
    """

    def __init__(
        self,
        database: Database,
        load: Callable[[Connection, Key], Value | None],
        *,
        limit: int = 100_000,
        keep_missing: bool = False,
        process_id: str = "",
    ) -> None:
        """`process_id`: of the process that says for this cache what it has forgotten; empty if none does."""
        self._database = database
        self._process_id = process_id
        self._load = load
        self._limit = limit
        self._keep_missing = keep_missing
        self._kept: dict[Key, Value | None] = {}
        self._loading: dict[Key, asyncio.Task[Value | None]] = {}
        self._running: set[asyncio.Task[Value | None]] = set()
        self._revision: int | None = None
        self._heard = float("-inf")
        self._generation = 0

    def kept(self, key: Key) -> Value | None:
        """The value if it is in memory and may be believed, at once; None says nothing."""
        return self._kept.get(key) if self._is_trusted() else None

    async def get(self, key: Key) -> Value | None:
        """The value, from memory or from the database; callers that miss at once share one query.

        Raises StorageUnavailable.
        """
        if key in self._kept and self._is_trusted():
            return self._kept[key]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.create_task(self._find(key))
            self._loading[key] = task
            # The loop itself holds a task by no more than a thread's queue, and `forget` lets go of those above.
            self._running.add(task)
            task.add_done_callback(lambda done: self._forget_task(key, done))
        # Shielded: a caller who leaves must not take the answer from those who wait for the same one.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Forget everything kept, and do not keep what is being looked up now."""
        self._kept.clear()
        self._loading.clear()
        self._generation += 1

    async def watch(self) -> None:
        """Ask for the revision twice a second, for ever. Without it running nothing is kept."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Ask for the revision once, and forget everything if it moved or could not be heard for too long."""
        asked = time.monotonic()
        try:
            revision = await self._database.read(find_revision)
        except StorageUnavailable:
            if not self._is_trusted():
                self.forget()
            return
        if revision != self._revision or not self._is_trusted():
            self.forget()
        # What is heard first is what the process's row began with: there was nothing to forget.
        moved = self._revision not in (None, revision)
        self._revision = revision
        self._heard = asked
        if moved and self._process_id:
            try:
                await self._database.run(acknowledge, self._process_id, revision)
            except StorageUnavailable:
                self._revision = -1  # Heard again, and said again, at the next look.

    async def forget_everywhere(self) -> None:
        """Forget, and wait until every other process has forgotten, or can keep nothing: three seconds at most."""
        self.forget()
        until = time.monotonic() + TRUSTED_SECONDS
        revision: int | None = None
        while time.monotonic() < until:
            try:
                if revision is None:
                    revision = await self._database.read(find_revision)
                if not await self._database.read(count_behind, self._process_id, revision):
                    return
            except StorageUnavailable:
                pass  # Who cannot reach it either trusts nothing for longer than we wait.
            await asyncio.sleep(LOOK_SECONDS)

    def _is_trusted(self) -> bool:
        return time.monotonic() - self._heard <= TRUSTED_SECONDS

    async def _find(self, key: Key) -> Value | None:
        generation = self._generation
        value = await self._database.read(self._load, key)
        if (value is not None or self._keep_missing) and generation == self._generation and self._is_trusted():
            if len(self._kept) >= self._limit:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = value
        return value

    def _forget_task(self, key: Key, task: asyncio.Task[Value | None]) -> None:
        self._running.discard(task)
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # Looked at, so that a failure nobody waited for is not reported as lost.
