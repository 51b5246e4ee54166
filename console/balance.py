"""GET /v1/user/balance: what an account has, lot by lot, and until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from billing.lots import DAY_MICROSECONDS
from billing.money import format_usd
from console.answers import answer, owner_of
from storage.accounts import Account, UnknownAccount, find_account
from storage.calls import shown_instant
from storage.connection import Connection
from storage.database import Database
from storage.lots import read_credits
from storage.promotions import find_lapses


def show_balance(database: Database, expiry_and_refund_days: Callable[[], tuple[int, int]]) -> Handler:
    """The account's balance and lots, by the days that are in force when it is asked."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(await database.read(read_balance, owner_of(request), *expiry_and_refund_days()))

    return handle


def read_balance(connection: Connection, account_id: str, expiry_days: int, refund_window_days: int) -> dict[str, Any]:
    """What an account has, by these days. Raises UnknownAccount."""
    found = find_account(connection, account_id)
    if found is None:
        raise UnknownAccount(f"there is no account {account_id}")
    return credits_as_json(connection, found, expiry_days, refund_window_days, connection.now())


def credits_as_json(
    connection: Connection, found: Account, expiry_days: int, refund_window_days: int, now: int
) -> dict[str, Any]:
    """What an account has: lots of which something is left, in spending order."""
    read = read_credits(connection, found.id, refund_window_days)
    balance, lots = read.balance, read.lots
    refundable = lots.refundable(balance.held, now)
    shown: dict[str, Any] = {
        "balance": format_usd(balance.balance),
        "held": format_usd(balance.held),
        "available": format_usd(balance.available),
        "currency": "USD",
        "expires_at": shown_instant(found.last_active + expiry_days * DAY_MICROSECONDS)
        if balance.balance > 0
        else None,
    }
    if lots.debt:
        shown["debt"] = format_usd(lots.debt)
    lapses = find_lapses(connection, found.id)
    shown["lots"] = [
        {
            "id": lot.id,
            "kind": lot.kind,
            "amount": format_usd(lot.amount),
            "left": format_usd(lot.left),
            "created": shown_instant(lot.created),
            "lapses_at": shown_instant(lapses[lot.id]) if lot.id in lapses else None,
            "refundable_until": None if lot.refundable_until is None else shown_instant(lot.refundable_until),
            "refundable": format_usd(refundable.get(lot.id, 0)),
        }
        for lot in lots.lots
        if lot.left
    ]
    return shown
