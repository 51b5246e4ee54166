"""What a key may spend in a day, a week, a month or ever, and the counters that hold it to that.

A key with a spending limit has one counter for each window of time: what its calls have cost and what is held for those in
flight. A call counts in the window in which it came in. Holds and settlements change the counter in the transaction that
changes the account, which they lock first, so that no number of calls at once spends more than the limit. Keys without a
limit have no counter. Windows are days, weeks from Monday on, and months, in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from billing.values import value
from storage.connection import Connection
from storage.identifiers import microseconds

WINDOWS: Final = ("daily", "weekly", "monthly", "none")
"""How often a limit begins anew; `none` is never."""

_LIMIT = "SELECT spend_limit, spend_window FROM api_key WHERE id = ?"
_COUNTER = "SELECT spent, held FROM key_spending WHERE key_id = ? AND period = ?"
_COUNT_HOLD = """INSERT INTO key_spending (key_id, period, spent, held) VALUES (?, ?, 0, ?)
    ON CONFLICT (key_id, period) DO UPDATE SET held = key_spending.held + ?"""
_MARK_HOLD = "UPDATE hold SET key_period = ? WHERE request_id = ?"
_COUNT_END = "UPDATE key_spending SET held = held - ?, spent = spent + ? WHERE key_id = ? AND period = ?"
_LOCK_ACCOUNT = "UPDATE account SET held = held WHERE id = ? RETURNING id"
_SPENT = """SELECT COALESCE(SUM(cost), 0) FROM call
    WHERE account_id = ? AND key_id = ? AND created >= ? AND cost > 0"""
_ADOPT_HOLDS = "UPDATE hold SET key_period = ? WHERE account_id = ? AND key_id = ? AND created >= ?"
_SET_SPENT = """INSERT INTO key_spending (key_id, period, spent, held) VALUES (?, ?, ?, 0)
    ON CONFLICT (key_id, period) DO UPDATE SET spent = ?"""
_SET_HELD = """UPDATE key_spending SET held = COALESCE((SELECT SUM(amount) FROM hold
    WHERE hold.key_id = key_spending.key_id AND hold.key_period = key_spending.period), 0) WHERE key_id = ?"""


class KeyLimitReached(Exception):
    """The key's spending limit leaves too little for the smallest hold that would do; `resets` is None where never."""

    def __init__(self, limit: int, remaining: int, required: int, resets: int | None) -> None:
        super().__init__(f"{remaining} units of the key's limit are left, {required} are required")
        self.limit = limit
        self.remaining = remaining
        self.required = required
        self.resets = resets


@value
class KeyAllowance:
    """What a key may still spend in the window `period`, which ends at `resets` (None: never)."""

    period: str
    limit: int
    spent: int
    held: int
    resets: int | None

    @property
    def remaining(self) -> int:
        """What can still be held; below zero where the limit was lowered."""
        return self.limit - self.spent - self.held


def window_start(window: str, instant: int) -> int:
    """When the window that `instant` lies in began, in microseconds; 0 where there is only one."""
    day = _day(instant)
    if window == "weekly":
        day -= timedelta(days=day.weekday())
    elif window == "monthly":
        day = day.replace(day=1)
    return microseconds(day) if window != "none" else 0


def window_end(window: str, instant: int) -> int | None:
    """When the window that `instant` lies in ends and the next begins; None where there is only one."""
    if window == "none":
        return None
    day = _day(window_start(window, instant))
    if window == "monthly":
        return microseconds((day + timedelta(days=32)).replace(day=1))
    return microseconds(day + timedelta(days=7 if window == "weekly" else 1))


def period_of(window: str, instant: int) -> str:
    """The name of the window that `instant` lies in: `daily:2026-11-27`, `weekly:2026-11-23`, `none`."""
    return f"{window}:{_day(window_start(window, instant)):%Y-%m-%d}" if window != "none" else window


def find_allowance(connection: Connection, key_id: str, instant: int) -> KeyAllowance | None:
    """What the key may still spend in the window of `instant`; None for a key without a limit."""
    row = connection.execute(_LIMIT, (key_id,)).fetchone()
    if row is None or row[0] is None:
        return None
    limit, window = row[0], row[1] or "none"
    period = period_of(window, instant)
    spent, held = connection.execute(_COUNTER, (key_id, period)).fetchone() or (0, 0)
    return KeyAllowance(period, limit, spent, held, window_end(window, instant))


def count_hold(connection: Connection, request_id: str, key_id: str, period: str, amount: int) -> None:
    """A hold of this key was placed; the account is locked."""
    connection.execute(_MARK_HOLD, (period, request_id))
    connection.execute(_COUNT_HOLD, (key_id, period, amount, amount))


def count_end(connection: Connection, key_id: str, period: str, held: int, spent: int) -> None:
    """A hold of this key ended, and its call cost `spent`; the account is locked."""
    connection.execute(_COUNT_END, (held, spent, key_id, period))


def begin_counting(
    connection: Connection, account_id: str, key_id: str, window: str, now: int, known: tuple[int, int] = (0, 0)
) -> None:
    """Set the counter of the window of `now` to what the key has spent and holds in it: it is given a limit.

    `known`: an instant, and what the key spent in the window until before it, so that long books need not be read. Locks
    the account. What other processes begin before they hear of the limit, within a second, is not counted.
    """
    connection.execute(_LOCK_ACCOUNT, (account_id,)).fetchone()
    period, start = period_of(window, now), window_start(window, now)
    connection.execute(_ADOPT_HOLDS, (period, account_id, key_id, start))
    row = connection.execute(_SPENT, (account_id, key_id, max(start, known[0]))).fetchone()
    assert row is not None, "a sum without rows is 0"
    spent = int(row[0]) + known[1]
    connection.execute(_SET_SPENT, (key_id, period, spent, spent))
    connection.execute(_SET_HELD, (key_id,))


def _day(instant: int) -> datetime:
    return datetime.fromtimestamp(instant // 1_000_000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
