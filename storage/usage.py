"""What an account used: its calls summed by day, model, key and mode, without reading a day twice once it is final.

A call's row carries the instant at which it came in and is written when it ends, which is a day later at most (a hold's
deadline). So what came in before the day before yesterday does not change any more; its sums are kept in memory, and only
the days after it are read each time. Days are counted from 1970-01-01, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from billing.values import value
from storage.connection import Connection
from storage.database import Database

DAY_MICROSECONDS: Final = 86_400_000_000
DAYS_AT_ONCE: Final = 7
"""Days read by one query, so that others are served in between."""
DAYS_KEPT: Final = 200_000
_OPEN_DAYS: Final = 2

_SUMS = f"""SELECT created / {DAY_MICROSECONDS}, model, key_id, mode, COUNT(*), SUM(prompt_tokens), SUM(cached_tokens),
        SUM(completion_tokens), SUM(reasoning_tokens), SUM(provider_cost), SUM(fee), SUM(cost)
    FROM call WHERE account_id = ? AND created >= ? AND created < ? GROUP BY 1, 2, 3, 4"""  # noqa: S608 - our own number


@value
class Used:
    """The calls of one day, model, key and mode together; money in 10⁻⁸ USD."""

    day: int
    model: str | None
    key_id: str
    mode: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    provider_cost: int
    fee: int
    cost: int


def sum_usage(connection: Connection, account_id: str, first_day: int, end_day: int) -> list[Used]:
    """The account's calls from `first_day` until before `end_day`, summed."""
    parameters = (account_id, first_day * DAY_MICROSECONDS, end_day * DAY_MICROSECONDS)
    rows = connection.execute(_SUMS, parameters).fetchall()
    # PostgreSQL adds whole numbers up to decimals.
    return [Used(row[0], row[1], row[2], row[3], *map(int, row[4:])) for row in rows]


def open_since(now: int) -> int:
    """The first day whose calls may not all be written yet."""
    return now // DAY_MICROSECONDS - _OPEN_DAYS


class UsageSums:
    """Sums of usage, remembered where they are final."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[tuple[str, int], list[Used]] = {}

    async def find(self, account_id: str, first_day: int, end_day: int, now: int) -> list[Used]:
        """The account's usage from `first_day` until before `end_day`; `now` in microseconds.

        Raises StorageUnavailable.
        """
        final_end = max(first_day, min(end_day, open_since(now)))
        used: list[Used] = []
        kept = [day for day in range(first_day, final_end) if (account_id, day) in self._kept]
        for day in kept:
            used += self._kept[account_id, day]
        for start, end in list(_runs(first_day, final_end, set(kept))):
            read = await self._database.read(sum_usage, account_id, start, end)
            for day in range(start, end):
                self._keep(account_id, day, [one for one in read if one.day == day])
            used += read
        if final_end < end_day:
            used += await self._database.read(sum_usage, account_id, final_end, end_day)
        return used

    def _keep(self, account_id: str, day: int, used: list[Used]) -> None:
        if len(self._kept) >= DAYS_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[account_id, day] = used


def _runs(first_day: int, end_day: int, kept: set[int]) -> Iterator[tuple[int, int]]:
    """The runs of days that are not kept, each of at most a week."""
    day = first_day
    while day < end_day:
        start = day
        while day < end_day and day not in kept and day - start < DAYS_AT_ONCE:
            day += 1
        if day > start:
            yield start, day
        else:
            day += 1
