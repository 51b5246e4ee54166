"""Changing what a key is called and what it may do, and keeping when it was last used.

A change reaches every gateway within a second, as a revocation does. The last use is kept lazily: at most once a minute for
each key, so that a call never waits for it and the books are not written for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from storage.connection import Connection, StorageUnavailable
from storage.database import Database
from storage.identifiers import now_microseconds
from storage.key_spending import begin_counting
from storage.keys import KeyRecord, KeyTerms, UnknownKey, find_key, terms_as_row
from storage.revision import bump_revision

USES_SECONDS: Final = 60.0
"""How often the last use of one key is written at most."""
LOOK_SECONDS: Final = 1.0
USES_REMEMBERED: Final = 100_000

_UPDATE = """UPDATE api_key SET name = ?, expires = ?, spend_limit = ?, spend_window = ?, requests_per_minute = ?,
    tokens_per_minute = ?, concurrent_requests = ?, allowed_models = ? WHERE id = ?"""
_USED = "UPDATE api_key SET last_used = ? WHERE id = ? AND (last_used IS NULL OR last_used < ?)"


def change_key(
    connection: Connection,
    account_id: str,
    key_id: str,
    *,
    name: str,
    expires: int | None,
    terms: KeyTerms,
    known: tuple[int, int] = (0, 0),
) -> KeyRecord:
    """Give a key another name, expiry and terms. Raises UnknownKey, also for another account's key.

    A spending limit that is new counts what the key has spent before, in the window of now (`known`: see begin_counting).
    """
    record = find_key(connection, key_id)
    if record is None or record.account_id != account_id:
        raise UnknownKey(f"there is no key {key_id}")
    before = record.terms
    limited = terms.spend_limit is not None
    if limited and (before.spend_limit is None or before.spend_window != terms.spend_window):
        begin_counting(connection, account_id, key_id, terms.spend_window or "none", now_microseconds(), known)
    connection.execute(_UPDATE, (name, expires, *terms_as_row(terms), key_id))
    bump_revision(connection)
    changed = find_key(connection, key_id)
    assert changed is not None, "keys are never deleted"
    return changed


def write_uses(connection: Connection, uses: Mapping[str, int]) -> None:
    """Keep the instants at which keys were last used; one that is earlier than what is kept changes nothing."""
    for key_id, used in sorted(uses.items()):
        connection.execute(_USED, (used, key_id, used))


class KeyUses:
    """Which keys were used when, until it is written. `note` costs a call next to nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, int] = {}
        self._written: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """The key is being used now."""
        self._noted[key_id] = time.time_ns() // 1000

    async def watch(self) -> None:
        """Write what is due once a second, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.write(time.monotonic())

    async def write(self, now: float) -> None:
        """Write the last use of each key for which that was not done in the minute before `now` (any steady clock)."""
        due = {
            key_id: used
            for key_id, used in self._noted.items()
            if now - self._written.get(key_id, float("-inf")) >= USES_SECONDS
        }
        if not due:
            return
        try:
            await self._database.run(write_uses, due)
        except StorageUnavailable:
            return  # They stay noted, and are written when the database is back.
        if len(self._written) > USES_REMEMBERED:
            self._written.clear()
        for key_id, used in due.items():
            self._written[key_id] = now
            if self._noted.get(key_id) == used:
                del self._noted[key_id]
