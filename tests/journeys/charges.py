"""What a row of the billing matrix is proved with: amounts computed apart from the gateway, and what its books say in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import psycopg2

from billing.money import Money
from storage.calls import CallRow
from tests.fakes.raw_upstream import Received
from tests.gateway import CREDIT, BookLock, Gateway

STANDARD = {"input": "0.14", "output": "0.28"}
ALTERNATIVE = {"input": "1", "output": "2"}
DEAR = {"input": "10", "output": "30"}
"""Prices of the models of `tests.gateway.book`, in USD per million tokens."""

SETTLE_SECONDS = 5.0
"""No hold outlives its call by more."""
LEAVE_SECONDS = 2.0
"""An upstream whose caller is gone is left within this."""


def costs(prompt: int, completion: int, prices: Mapping[str, str] = STANDARD, factor: str = "1.055") -> Money:
    """Tokens times price, the fee on top, rounded once, half up, to 10⁻⁸ USD: by decimals and not by the gateway's code."""
    dollars = (prompt * Decimal(prices["input"]) + completion * Decimal(prices["output"])) / 1_000_000
    return int((dollars * Decimal(factor)).quantize(Decimal("0.00000001"), ROUND_HALF_UP).scaleb(8))


def provider_costs(prompt: int, completion: int, prices: Mapping[str, str] = STANDARD) -> Money:
    """What the provider charges for it."""
    return costs(prompt, completion, prices, "1")


def usage(prompt: int, completion: int) -> dict[str, int]:
    """A report."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def ended(gateway: Gateway, count: int = 1, *, credit: Money = CREDIT) -> CallRow:
    """The last line of the billing log once there are ``count`` and nothing is held: in time, with books that agree."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while len(rows := gateway.rows()) < count or gateway.balance().held:
            await asyncio.sleep(0.02)
    assert count == len(rows), rows
    gateway.prove(credit=credit)
    assert 0 <= gateway.balance().available
    return rows[-1]


def told(row: CallRow) -> tuple[Any, ...]:
    """How the line says it ended: outcome, source of the numbers, `estimated`, `anomalous`, cost, `absorbed`."""
    return row.billing_outcome, row.usage_source, row.estimated, row.anomalous, row.cost, row.absorbed


def free(outcome: str, source: str | None = "provider", *, estimated: bool = False) -> tuple[Any, ...]:
    """The same for a call that costs its account nothing."""
    return outcome, source, estimated, False, 0, 0


def paid(cost: Money, outcome: str = "complete", source: str = "provider") -> tuple[Any, ...]:
    """The same for a call that was paid in full."""
    return outcome, source, source != "provider", False, cost, 0


def borne(row: CallRow) -> list[tuple[str, Money, str]]:
    """Each attempt: the provider, what it cost us, who bore it."""
    return [(attempt.provider, attempt.upstream_cost, attempt.borne_by) for attempt in row.attempts]


async def left(request: Received) -> None:
    """The gateway has closed this upstream's connection, in time."""
    await asyncio.wait_for(request.caller_left.wait(), LEAVE_SECONDS)


@contextmanager
def books_locked(gateway: Gateway) -> Iterator[None]:
    """Nothing can be settled meanwhile, as if another process were at the books: on SQLite and on PostgreSQL."""
    if gateway.database_url.startswith("sqlite:"):
        lock = BookLock(gateway.database_url)
        lock.take()
        try:
            yield
        finally:
            lock.release()
        return
    connection = psycopg2.connect(gateway.database_url)
    try:
        connection.cursor().execute("LOCK TABLE account IN EXCLUSIVE MODE")
        yield
    finally:
        connection.close()
