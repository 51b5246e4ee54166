"""The ledger: money is held before a call, settled once when it ends, or given back; every change is an entry.

The rules:

* A hold succeeds only if `balance - held` covers it: one conditional UPDATE, never a look and then a write.
* A hold ends exactly once: settled (at most the hold is taken, the rest returns) or released. Both are keyed by the
  request id, so doing either again changes nothing.
* An entry moves an amount from one ledger account to another, under an id its originator gave. Entries are never
  changed; a mistake is corrected by another entry. Holding writes none.
* `account.balance` is the sum of its entries, `account.held` the sum of its holds; storage/audit.py proves both.
* A process that dies leaves its holds to `sweep`, which another process runs.

`Ledger` submits the work of storage/postings.py to the writer thread and raises what it refuses. Whatever a cancelled
or failed `hold` may have left behind is released in the background, for as long as it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from storage.accounts import AccountInactive, UnknownAccount
from storage.batches import place_holds, post_settlements
from storage.database import Connection, Database, StorageUnavailable
from storage.identifiers import now_microseconds
from storage.key_spending import KeyLimitReached
from storage.limited_holds import place_limited_byok_hold, place_limited_hold
from storage.postings import (
    UNTOLD,
    Balance,
    Held,
    InsufficientCredit,
    LedgerViolation,
    Purpose,
    Refusal,
    Settled,
    Settlement,
    Source,
    find_balance,
    place_byok_hold,
    place_hold,
    post_credit,
    post_settlement,
    release_hold,
)
from storage.sweep import beat, bury, find_orphans, follow_clock, release_orphan

__all__ = [
    "AccountInactive",
    "Balance",
    "Held",
    "InsufficientCredit",
    "KeyLimitReached",
    "Ledger",
    "LedgerViolation",
    "Purpose",
    "Settled",
    "Settlement",
    "Source",
    "UnknownAccount",
    "find_balance",
    "place_byok_hold",
    "place_hold",
    "post_credit",
    "post_settlement",
    "release_hold",
]

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Ledger:
    """The ledger as the gateway uses it. `owner` is this process's id; holds carry it.

    Every method raises StorageUnavailable when the database cannot do the work. Send a heartbeat before the first hold.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._background: set[asyncio.Task[None]] = set()
        self._last_beat: int | None = None
        self._last_beat_at = 0.0
        """The same instant on the loop's clock, which nobody can set."""
        self._silent_until: int | None = None

    async def hold(
        self,
        request_id: str,
        account_id: str,
        amounts: Sequence[int],
        *,
        at_least: int | None = None,
        deadline: int,
        purpose: Purpose = UNTOLD,
        key_limited: bool = False,
    ) -> Held:
        """Set money aside for a call: the first of `amounts` (descending) that the available balance covers.

        If none is covered but `at_least` is, exactly what is available is held. The same request id again returns the
        hold as it stands. With `key_limited` the spending limit of the purpose's key must cover it, too. Raises
        InsufficientCredit, KeyLimitReached, AccountInactive, UnknownAccount; ValueError for no or negative amounts. If this
        is cancelled, or fails with its outcome unknown, what it may have held is given back: the same request id must not
        be used again then.
        """
        if not amounts or min(amounts) < 0:
            raise ValueError(f"a hold is one or more amounts of at least 0, not {list(amounts)}")
        return _held(
            await self._database.run(
                place_limited_hold if key_limited else place_hold,
                request_id,
                account_id,
                amounts,
                at_least,
                self._owner,
                deadline,
                now_microseconds(),
                purpose,
                key=account_id,
                on_orphan=lambda outcome: self._give_back(request_id, account_id, outcome),
                on_doubt=lambda: self.release_in_background(request_id, account_id),
                together=None if key_limited else place_holds,
            )
        )

    async def hold_byok(
        self,
        request_id: str,
        account_id: str,
        *,
        month: str,
        free_requests: int,
        fee_bound: int,
        deadline: int,
        purpose: Purpose = UNTOLD,
        key_limited: bool = False,
    ) -> Held:
        """Take one of the account's free BYOK calls of `month` ("2026-11"), or else hold the most the fee can be.

        Raises and gives back as `hold` does; ValueError for a negative bound.
        """
        if fee_bound < 0:
            raise ValueError(f"a fee is at least 0, not {fee_bound}")
        return _held(
            await self._database.run(
                place_limited_byok_hold if key_limited else place_byok_hold,
                request_id,
                account_id,
                month,
                free_requests,
                fee_bound,
                self._owner,
                deadline,
                now_microseconds(),
                purpose,
                key=account_id,
                on_orphan=lambda outcome: self._give_back(request_id, account_id, outcome),
                on_doubt=lambda: self.release_in_background(request_id, account_id),
            )
        )

    async def settle(self, settlement: Settlement) -> Settled:
        """Take what a call cost and give back the rest of its hold, with its entries, its row and its attempts.

        Again under the same request id changes nothing and returns what stands, so it may be repeated until it succeeds.
        Cancelling the waiter does not undo it. Raises LedgerViolation if there is no hold, or the cost is above it.
        """
        return await self._database.run(
            post_settlement, settlement, now_microseconds(), key=settlement.account_id, together=post_settlements
        )

    def settle_in_background(self, settlement: Settlement) -> None:
        """Settle without a waiter, trying again for as long as the database cannot: an answer given is paid for."""
        self._in_background(lambda: self.settle(settlement))

    async def release(self, request_id: str, account_id: str) -> Balance:
        """Give back everything a hold took; nothing if there is none. Raises UnknownAccount."""
        return await self._database.run(release_hold, request_id, account_id, key=account_id)

    def release_in_background(self, request_id: str, account_id: str) -> None:
        """Release without a waiter, trying again for as long as the database cannot."""
        self._in_background(lambda: self.release(request_id, account_id))

    async def credit(self, entry_id: str, account_id: str, amount: int, *, source: Source, reason: str) -> Balance:
        """Credit an account, once under this id. Raises UnknownAccount and LedgerViolation."""
        return await self._database.run(
            post_credit, entry_id, account_id, amount, source, reason, now_microseconds(), key=account_id
        )

    async def balance(self, account_id: str) -> Balance:
        """What the account has, of what is committed. Raises UnknownAccount."""
        return await self._database.read(find_balance, account_id)

    async def heartbeat(self, *, silent_after_seconds: float = 15) -> None:
        """Say that this process lives; to be called every few seconds.

        After a silence of its own (the database was away, the machine slept, the clock was set) a process waits before
        it calls others dead: they were kept silent by the same thing, and must be given the time to say so. Where the clock
        was set, the deadlines of this process's holds are moved with it.
        """
        now, at = await self._database.run(beat, self._owner), asyncio.get_running_loop().time()
        self._database.mark_writable()
        if self._last_beat is not None and abs(now - self._last_beat) > silent_after_seconds * 1_000_000:
            self._silent_until = now
            step = now - self._last_beat - round((at - self._last_beat_at) * 1_000_000)
            if abs(step) > silent_after_seconds * 1_000_000:
                _log.warning("the clock was set by %d seconds", round(step / 1_000_000))
                await self._database.run(follow_clock, self._owner, step, now)
        self._last_beat, self._last_beat_at = now, at

    async def sweep(self, now: int | None = None, *, dead_after_seconds: float = 30) -> list[str]:
        """Release the holds of processes that have been silent for so long, or are not known; returns request ids.

        `now` is in microseconds, the database's clock if not given. Calls of a process that lives are never touched,
        however long they take. Returns nothing while this process itself comes out of a silence (see `heartbeat`).
        """
        if now is None:
            now = await self._database.read(_database_clock)
            if self._last_beat is not None and abs(now - self._last_beat) > dead_after_seconds * 1_000_000:
                return []  # By that clock this process would be dead itself: it was set since, or nobody could write.
        silent_since = now - round(dead_after_seconds * 1_000_000)
        if self._silent_until is not None and self._silent_until > silent_since:
            return []
        released = []
        for request_id, account_id in await self._database.read(find_orphans, silent_since):
            if await self._database.run(release_orphan, request_id, account_id, silent_since, key=account_id):
                released.append(request_id)
        await self._database.run(bury, silent_since)
        return released

    async def close(self, *, timeout_seconds: float = 10) -> None:
        """Wait for what is being settled and released in the background; what is left then stays for `sweep`."""
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=timeout_seconds)
            for task in unfinished:
                _log.error("a hold could not be ended before closing: %s", task.get_name())
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished)

    @property
    def in_background(self) -> int:
        """How many settlements and releases are still being tried in the background."""
        return len(self._background)

    def _give_back(self, request_id: str, account_id: str, outcome: Held | Refusal) -> None:
        """The waiter of a hold has gone: nobody else will end it."""
        if isinstance(outcome, Held):
            self.release_in_background(request_id, account_id)

    def _in_background(self, attempt: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.get_running_loop().create_task(_until_done(attempt))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _database_clock(connection: Connection) -> int:
    return connection.now()


async def _until_done(attempt: Callable[[], Awaitable[object]]) -> None:
    """Try until the database can do it, with growing pauses."""
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            await attempt()
            return
        except StorageUnavailable:
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        except LedgerViolation:
            _log.exception("a settlement in the background broke a rule of the ledger")
            return


def _held(outcome: Held | Refusal) -> Held:
    if isinstance(outcome, Held):
        return outcome
    raise outcome
