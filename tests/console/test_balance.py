"""The balance over the API is what the books say, lot by lot, while calls run and after."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from billing.money import UNITS_PER_USD, parse_usd
from storage.identifiers import now_microseconds
from storage.ledger import post_credit
from tests.fakes.raw_upstream import RawUpstream, as_asked
from tests.gateway import Gateway


async def test_what_there_is(plane: Gateway, ask: Any) -> None:
    """Promotions first, then recharges; only recharges are refundable, for as long as the books say."""
    with plane.database.session() as connection:
        now = now_microseconds()
        post_credit(connection, "pi_1", plane.account_id, 20 * UNITS_PER_USD, "stripe:clearing", "", now)
    assert 200 == (await plane.chat()).status

    shown = await ask("GET", "/v1/user/balance")

    row, balance = plane.row(), plane.balance()
    assert (200, "private, no-store") == (shown.status, shown.headers["Cache-Control"])
    body = shown.json
    assert (balance.balance, 0, balance.balance) == tuple(
        parse_usd(body[name]) for name in ("balance", "held", "available")
    )
    assert "USD" == body["currency"]
    assert "debt" not in body
    assert timedelta(days=364) < datetime.fromisoformat(body["expires_at"]) - datetime.now().astimezone()
    assert [("promotion", 10 * UNITS_PER_USD - row.cost, 0), ("recharge", 20 * UNITS_PER_USD, 20 * UNITS_PER_USD)] == [
        (lot["kind"], parse_usd(lot["left"]), parse_usd(lot["refundable"])) for lot in body["lots"]
    ]


async def test_what_is_held_is_told(plane: Gateway, ask: Any, alpha: RawUpstream) -> None:
    """While a call runs its hold is part of the balance, and not available."""
    go = asyncio.Event()
    alpha.next(lambda received: [go, *as_asked()(received)])
    call = asyncio.create_task(plane.chat(max_tokens=1000))
    await alpha.received(1)

    body = (await ask("GET", "/v1/user/balance")).json
    go.set()
    await call

    assert "10" == body["balance"]
    assert plane.row().held == parse_usd(body["held"])
    assert 10 * UNITS_PER_USD - plane.row().held == parse_usd(body["available"])


async def test_a_debt_is_told(plane: Gateway, ask: Any) -> None:
    """A balance below nothing says by how much."""
    with plane.database.session() as connection:
        connection.execute("UPDATE account SET balance = -150000000 WHERE id = ?", (plane.account_id,))

    body = (await ask("GET", "/v1/user/balance")).json

    assert ("-1.5", "1.5", None) == (body["balance"], body["debt"], body["expires_at"])
