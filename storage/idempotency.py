"""Which call an account's Idempotency-Key stands for, and the answer of that call, sealed, for 24 hours.

One INSERT decides: of all that come with a key at the same moment, on however many processes, one gets the claim and makes
the call; the others are told whose it is. A claim ends in one of three ways:

* `keep`: the call was charged or delivered, and its answer is here (`done`), or could not be kept (`lost`). Nobody makes
  that call again before the row has expired.
* `free`: the call cost nothing, so the next one who comes with the key may make it.
* its process dies. Whoever comes next then asks the books: while its hold stands nothing is known; afterwards, a call that
  was charged is `lost`, and any other is free.

Keys are stored as hashes: a caller may have put anything into them.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Final

from billing.matrix import PAID_ENDINGS
from storage.connection import Connection, StorageUnavailable
from storage.database import Database
from storage.sealing import SealBroken, Sealer

KEPT_MICROSECONDS: Final = 24 * 3600 * 1_000_000
DEAD_AFTER_MICROSECONDS: Final = 30 * 1_000_000
"""As long as the sweep of storage/sweep.py waits before it calls a process dead."""
ACCOUNT_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Answers of one account together; beyond it the oldest are dropped, and their keys remember only the call."""
ACCOUNTS_AT_ONCE: Final = 500
"""Accounts whose expired rows one run deletes; the next run sees the rest."""

NEW: Final = "new"
RUNNING: Final = "running"
DONE: Final = "done"
LOST: Final = "lost"

_CLAIM = """INSERT INTO idempotency (account_id, key_hash, fingerprint, request_id, owner, state, created, size)
    VALUES (?, ?, ?, ?, ?, 'running', ?, 0)
    ON CONFLICT (account_id, key_hash) DO UPDATE SET fingerprint = excluded.fingerprint,
        request_id = excluded.request_id, owner = excluded.owner, state = 'running', created = excluded.created,
        size = 0, sealed = NULL
    WHERE idempotency.created <= ? AND idempotency.state <> 'running'"""
_FIND = """SELECT fingerprint, request_id, state, process.heartbeat
    FROM idempotency LEFT JOIN process ON process.id = idempotency.owner
    WHERE account_id = ? AND key_hash = ?"""
_IS_HELD = "SELECT 1 FROM hold WHERE request_id = ?"
_OUTCOME = "SELECT billing_outcome FROM call WHERE request_id = ?"
_ROW = "account_id = ? AND key_hash = ? AND request_id = ?"
_TAKE_OVER = f"UPDATE idempotency SET fingerprint = ?, request_id = ?, owner = ?, created = ? WHERE {_ROW}"  # noqa: S608
_END = f"UPDATE idempotency SET state = ?, size = ?, sealed = ? WHERE {_ROW}"  # noqa: S608
_FREE = f"DELETE FROM idempotency WHERE {_ROW} AND state = 'running'"  # noqa: S608
_SEALED = f"SELECT sealed FROM idempotency WHERE {_ROW}"  # noqa: S608
_SIZE = "SELECT COALESCE(SUM(size), 0) FROM idempotency WHERE account_id = ?"
_DROP_OLDEST = """UPDATE idempotency SET state = 'lost', size = 0, sealed = NULL
    WHERE account_id = ? AND size > 0 AND created <= (SELECT MIN(created) FROM
        (SELECT created, SUM(size) OVER (ORDER BY created) AS so_far FROM idempotency
            WHERE account_id = ? AND size > 0) AS sums WHERE so_far >= ?)"""
_ACCOUNTS_WITH_EXPIRED = "SELECT DISTINCT account_id FROM idempotency WHERE created <= ? LIMIT ?"
_FORGET = """DELETE FROM idempotency WHERE account_id = ? AND created <= ? AND (state <> 'running'
    OR NOT EXISTS (SELECT 1 FROM process WHERE process.id = idempotency.owner))"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key stands for: `new` is the asker's own, and the others tell how far the call of `request_id` is."""

    state: str
    request_id: str
    fingerprint: str


def hash_of(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Answers:
    """The kept answers as the gateway uses them; `owner` is this process's id. Everything raises StorageUnavailable."""

    def __init__(self, database: Database, sealer: Sealer, owner: str) -> None:
        self._database = database
        self._sealer = sealer
        self._owner = owner
        self._background: set[asyncio.Task[None]] = set()

    @property
    def can_keep(self) -> bool:
        """Whether answers can be sealed; without a secret key the database learns only which call a key stands for."""
        return self._sealer.is_available

    async def claim(self, account_id: str, key_hash: str, fingerprint: str, request_id: str) -> Claim:
        """Claim a key for a call, or learn whose it is. A claim whose waiter was cancelled, or in doubt, is freed."""

        def give_back(claim: Claim) -> None:
            if claim.state == NEW:
                self._free_in_background(account_id, key_hash, request_id)

        return await self._database.run(
            claim_key,
            account_id,
            key_hash,
            fingerprint,
            request_id,
            self._owner,
            key=account_id,
            on_orphan=give_back,
            on_doubt=lambda: self._free_in_background(account_id, key_hash, request_id),
        )

    async def is_running(self, account_id: str, key_hash: str) -> bool:
        """Whether the call of a key runs still, as far as can be told without asking the books; asked often while waiting."""
        return await self._database.read(_is_running, account_id, key_hash)

    async def keep(self, account_id: str, key_hash: str, request_id: str, answer: bytes | None) -> None:
        """End a claim for good, with the answer of its call; None where there is none to give again."""
        sealed: bytes | None = None
        if answer is not None and self.can_keep:
            bound = {"account_id": account_id, "row_id": f"{key_hash} {request_id}"}
            sealed = await asyncio.to_thread(self._sealer.seal_answer, answer, **bound)
            stored = await self._database.read(_stored_bytes, account_id)
            if (excess := stored + len(sealed) - ACCOUNT_LIMIT_BYTES) > 0:
                await self._database.run(drop_oldest, account_id, excess, key=account_id)
        await self._database.run(end_claim, account_id, key_hash, request_id, sealed, key=account_id)

    async def free(self, account_id: str, key_hash: str, request_id: str) -> None:
        """Give a claim back: the call cost nothing, so it may be made again."""
        await self._database.run(free_key, account_id, key_hash, request_id, key=account_id)

    async def read(self, account_id: str, key_hash: str, request_id: str) -> bytes | None:
        """The answer of a call that is done; None if it cannot be read any more, because the secret key has changed."""
        return await self._database.read(self._open, account_id, key_hash, request_id)

    async def forget_expired(self) -> None:
        """Delete what is older than 24 hours. Any number of processes may run this."""
        before = await self._database.read(_clock) - KEPT_MICROSECONDS
        for account_id in await self._database.read(_accounts_with_expired, before):
            await self._database.run(forget_expired, account_id, before, key=account_id)

    async def close(self) -> None:
        """Stop what is tried in the background; a claim that stays is freed by whoever asks when we are dead."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _open(self, connection: Connection, account_id: str, key_hash: str, request_id: str) -> bytes | None:
        row = connection.execute(_SEALED, (account_id, key_hash, request_id)).fetchone()
        if row is None or row[0] is None or not self.can_keep:
            return None
        try:
            return self._sealer.open_answer(bytes(row[0]), account_id=account_id, row_id=f"{key_hash} {request_id}")
        except SealBroken:
            return None

    def _free_in_background(self, account_id: str, key_hash: str, request_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self._free_for_sure(account_id, key_hash, request_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _free_for_sure(self, account_id: str, key_hash: str, request_id: str) -> None:
        while True:
            try:
                return await self.free(account_id, key_hash, request_id)
            except StorageUnavailable:
                await asyncio.sleep(1)


def claim_key(
    connection: Connection, account_id: str, key_hash: str, fingerprint: str, request_id: str, owner: str
) -> Claim:
    """One key, one claim. An expired row counts as none, and so does one whose process died without a charge."""
    # Accounts first, as everywhere: a hold in the same batch locks the account, and a claim after it a row of this table.
    connection.lock_accounts([account_id])
    now = connection.now()
    mine = (account_id, key_hash, fingerprint, request_id, owner, now, now - KEPT_MICROSECONDS)
    if connection.execute(_CLAIM, mine).rowcount == 1:
        return Claim(NEW, request_id, fingerprint)
    row = connection.execute(_FIND, (account_id, key_hash)).fetchone()
    assert row is not None, "what stood in the way of the claim is locked"
    stored_fingerprint, stored_id, state, heartbeat = row
    if state == RUNNING and _is_dead(heartbeat, now):
        state = _state_after_death(connection, stored_id)
        stored = (account_id, key_hash, stored_id)
        if state == NEW:
            connection.execute(_TAKE_OVER, (fingerprint, request_id, owner, now, *stored))
            return Claim(NEW, request_id, fingerprint)
        if state == LOST:
            connection.execute(_END, (LOST, 0, None, *stored))
    return Claim(state, stored_id, stored_fingerprint)


def _state_after_death(connection: Connection, request_id: str) -> str:
    """What became of a call whose process died: the books know as soon as its hold was swept."""
    if connection.execute(_IS_HELD, (request_id,)).fetchone() is not None:
        return RUNNING
    row = connection.execute(_OUTCOME, (request_id,)).fetchone()
    paid = row is not None and row[0] in {ending.value for ending in PAID_ENDINGS}
    return LOST if paid else NEW


def end_claim(connection: Connection, account_id: str, key_hash: str, request_id: str, sealed: bytes | None) -> None:
    """The call is over and stands: with its answer, or without one to give again."""
    state, size = (LOST, 0) if sealed is None else (DONE, len(sealed))
    connection.lock_accounts([account_id])
    connection.execute(_END, (state, size, sealed, account_id, key_hash, request_id))


def free_key(connection: Connection, account_id: str, key_hash: str, request_id: str) -> None:
    """The claim never was; nothing if it has ended."""
    connection.lock_accounts([account_id])
    connection.execute(_FREE, (account_id, key_hash, request_id))


def drop_oldest(connection: Connection, account_id: str, excess_bytes: int) -> None:
    """Drop an account's oldest answers, at least so many bytes of them; what their keys stand for stays known."""
    connection.lock_accounts([account_id])
    connection.execute(_DROP_OLDEST, (account_id, account_id, excess_bytes))


def forget_expired(connection: Connection, account_id: str, before: int) -> int:
    """Delete an account's rows from before that instant, except of calls that run still. Returns how many."""
    connection.lock_accounts([account_id])
    return connection.execute(_FORGET, (account_id, before)).rowcount


def _is_running(connection: Connection, account_id: str, key_hash: str) -> bool:
    row = connection.execute(_FIND, (account_id, key_hash)).fetchone()
    return row is not None and row[2] == RUNNING and not _is_dead(row[3], connection.now())


def _is_dead(heartbeat: int | None, now: int) -> bool:
    return heartbeat is None or heartbeat < now - DEAD_AFTER_MICROSECONDS


def _stored_bytes(connection: Connection, account_id: str) -> int:
    row = connection.execute(_SIZE, (account_id,)).fetchone()
    return int(row[0]) if row is not None else 0


def _accounts_with_expired(connection: Connection, before: int) -> list[str]:
    rows: list[tuple[Any, ...]] = connection.execute(_ACCOUNTS_WITH_EXPIRED, (before, ACCOUNTS_AT_ONCE)).fetchall()
    return [row[0] for row in rows]


def _clock(connection: Connection) -> int:
    return connection.now()
