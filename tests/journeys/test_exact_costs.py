"""What calls cost to the eighth decimal, over the wire: single ones, a thousand of the smallest, ten thousand that must not
drift, and the fee, taken once.

Each expected amount is worked out here with fractions: Σ tokens x price / 1,000,000 x 1.055, rounded half up at 8 decimals.
The long series run in full under FIND_TOKEN_EXAM=1.
"""

from __future__ import annotations

import asyncio
import math
import os
from fractions import Fraction
from typing import Any

import pytest

from billing.money import UNITS_PER_USD
from storage.identifiers import now_microseconds
from storage.ledger import post_credit
from tests.fakes.raw_upstream import RawUpstream, as_asked, completion, http, stream
from tests.gateway import Gateway, Reply

FEE = Fraction(1055, 1000)
STANDARD = (Fraction("0.14"), Fraction("0.28"))
ALTERNATIVE = (Fraction(1), Fraction(2))
EXAM = os.environ.get("FIND_TOKEN_EXAM") == "1"
AT_ONCE = 50

TOLD = {
    (1000, 500): "0.00029540",
    (7, 3): "0.00000192",
    (1, 1): "0.00000044",
    (50, 0): "0.00000739",
}
"""Amounts that were agreed beforehand; the last is a tie, 0.000007385 exactly."""
PAIRS = (
    *TOLD,
    (0, 0),
    (1, 0),
    (0, 1),
    (2, 1),
    (3, 7),
    (10, 10),
    (150, 0),
    (0, 25),
    (0, 75),
    (99, 101),
    (333, 667),
    (1234, 567),
    (2008, 266),
    (4096, 1024),
    (9999, 1),
    (1, 8191),
)


def exact(prompt: int, completion_tokens: int, prices: tuple[Fraction, Fraction]) -> Fraction:
    """What it costs before it is rounded, in USD."""
    return (prompt * prices[0] + completion_tokens * prices[1]) * FEE / 1_000_000


def half_up(amount: Fraction) -> int:
    """Whole units of 10⁻⁸ USD."""
    return math.floor(amount * UNITS_PER_USD + Fraction(1, 2))


def units(text: str | None) -> Fraction:
    """A decimal text in units of 10⁻⁸ USD."""
    assert text is not None
    return Fraction(text) * UNITS_PER_USD


def test_the_pairs_are_twenty_with_ties() -> None:
    """The agreed amounts are what the formula gives, and several pairs lie exactly between two amounts."""
    assert 20 == len(set(PAIRS))
    assert {pair: units(amount) for pair, amount in TOLD.items()} == {
        pair: half_up(exact(*pair, STANDARD)) for pair in TOLD
    }
    ties = [pair for pair in PAIRS if (exact(*pair, STANDARD) * UNITS_PER_USD) % 1 == Fraction(1, 2)]
    assert [(50, 0), (150, 0), (0, 25), (0, 75)] == ties


@pytest.mark.parametrize("streaming", [False, True])
async def test_twenty_pairs_have_one_truth(streaming: bool, gateway: Gateway, alpha: RawUpstream) -> None:
    """S-013: header or comment, log and balance say the same amount, which is the exact one, rounded once."""
    before = gateway.balance().balance
    for prompt, produced in PAIRS:
        usage = {"prompt_tokens": prompt, "completion_tokens": produced, "total_tokens": prompt + produced}
        alpha.next(stream(usage=usage) if streaming else [http(completion(usage=usage))])
        # Long enough a prompt that whatever it is said to have been fits its hold.
        reply = await gateway.chat("p" * 10_000, stream=streaming)
        after = gateway.balance().balance
        row = gateway.rows()[-1]

        cost = half_up(exact(prompt, produced, STANDARD))
        told = reply.bill if streaming else {"cost": reply.header("Cost"), "balance": reply.header("Balance")}
        assert (cost, cost, cost) == (units(told["cost"]), row.cost, before - after), (prompt, produced)
        assert after == units(told["balance"])
        assert ("provider", False) == (row.usage_source, row.anomalous)
        before = after
    gateway.prove()


async def many(gateway: Gateway, count: int, **fields: Any) -> list[Reply]:
    """So many calls, some of them at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> Reply:
        async with gate:
            return await gateway.chat(**fields)

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_the_smallest_calls_are_not_free(gateway: Gateway, alpha: RawUpstream) -> None:
    """S-014: of one token each, 1.477e-7 USD: each costs 0.00000015, none nothing, and the balance has the sum."""
    count = 1_000 if EXAM else 200
    alpha.otherwise = as_asked(usage={"prompt_tokens": 1, "completion_tokens": 0})
    before = gateway.balance().balance
    replies = await many(gateway, count)

    assert Fraction("0.0000001477") == exact(1, 0, STANDARD)
    assert {"0.00000015"} == {reply.header("Cost") for reply in replies}
    spent = before - gateway.balance().balance
    assert count * 15 == spent == sum_of_log(gateway)
    assert count * exact(1, 0, STANDARD) * UNITS_PER_USD <= spent <= count * 15


async def test_ten_thousand_charges_do_not_drift(start_gateway: Any, beta: RawUpstream) -> None:
    """S-015: 0.003165 USD each: what is gone is their number times that, to the last digit."""
    count = 10_000 if EXAM else 300
    gateway: Gateway = await start_gateway(credit=100 * UNITS_PER_USD)
    beta.otherwise = as_asked(usage={"prompt_tokens": 1000, "completion_tokens": 1000})
    before = gateway.balance().balance
    replies = await many(gateway, count, text="p" * 1000, model="alternative", max_tokens=1000)

    assert {"0.003165"} == {reply.header("Cost") for reply in replies}
    assert Fraction("0.003165") * count * UNITS_PER_USD == before - gateway.balance().balance == sum_of_log(gateway)
    assert half_up(exact(1000, 1000, ALTERNATIVE)) == 316_500


def sum_of_log(gateway: Gateway) -> int:
    """What the billing log says was taken; asked of the database, since a page of the log is shorter."""
    with gateway.database.session(snapshot=True) as connection:
        row = connection.execute("SELECT SUM(cost) FROM call WHERE account_id = ?", (gateway.account_id,)).fetchone()
    assert row is not None
    return int(row[0])


async def test_the_fee_is_taken_once(start_gateway: Any, alpha: RawUpstream) -> None:
    """Twenty dollars paid are twenty dollars to spend; the percentage is in the price of the call, and only there."""
    gateway: Gateway = await start_gateway(credit=0)
    paid = 20 * UNITS_PER_USD
    with gateway.database.session() as connection:
        post_credit(connection, "recharge:1", gateway.account_id, paid, "stripe:clearing", "test", now_microseconds())
    assert paid == gateway.balance().balance
    reply = await gateway.chat()

    row = gateway.row()
    assert ("0.0002954", "19.9997046") == (reply.header("Cost"), reply.header("Balance"))
    assert (28_000, 1_540, 29_540) == (row.provider_cost, row.fee, row.cost)
    gateway.prove(credit=paid)
