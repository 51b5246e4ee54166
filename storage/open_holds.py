"""What is set aside for calls in flight, as an operator sees it: all of it in figures, and that of one account by line."""

from __future__ import annotations

from typing import Final

from billing.values import value
from storage.connection import Connection

_SUMS: Final = """SELECT COUNT(*), COALESCE(SUM(amount), 0), MIN(created),
    COUNT(CASE WHEN deadline < ? THEN 1 END) FROM hold"""
_OF_ACCOUNT: Final = """SELECT request_id, amount, created, deadline, requested_model FROM hold
    WHERE account_id = ? ORDER BY created, request_id LIMIT ?"""


@value
class HoldSums:
    """All open holds: how many, what they set aside, when the oldest one's call came in, and how many a sweep is due for."""

    count: int
    amount: int
    oldest: int | None
    overdue: int


@value
class OpenHold:
    """The hold of one call; instants in microseconds."""

    request_id: str
    amount: int
    created: int
    deadline: int
    requested_model: str


def sum_holds(connection: Connection, now: int) -> HoldSums:
    """All open holds in figures."""
    row = connection.execute(_SUMS, (now,)).fetchone()
    assert row is not None, "a sum without rows is 0"
    count, amount, oldest, overdue = row
    return HoldSums(int(count), int(amount), oldest, int(overdue))


def list_holds(connection: Connection, account_id: str, limit: int) -> list[OpenHold]:
    """The account's holds, oldest first, so many at most."""
    rows = connection.execute(_OF_ACCOUNT, (account_id, limit)).fetchall()
    return [OpenHold(*row) for row in rows]
