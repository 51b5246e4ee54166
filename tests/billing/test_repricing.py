"""A call's cost computed again is what it was charged, and what cannot be computed is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from billing.money import UNITS_PER_USD
from billing.repricing import (
    Facts,
    Moves,
    NotPriced,
    adjustment_id,
    ledger_accounts,
    moves_of,
    reprice,
    version_of_adjustment,
)
from billing.usage import Usage
from storage.calls import CallRow
from tests.billed import BEGIN, priced_catalogue, random_settlement

CATALOGUE = priced_catalogue()
BOOK = CATALOGUE.price_book()


def facts_of(row: CallRow, **changes: object) -> Facts:
    """The facts of a line of the billing log."""
    usage = Usage(row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.cache_write_tokens)
    facts = Facts(
        instant=BEGIN + timedelta(microseconds=row.created - int(BEGIN.timestamp()) * 1_000_000),
        mode=row.mode,
        billing_outcome=row.billing_outcome,
        usage=usage,
        fee_percent=row.fee_percent,
        held=row.held,
    )
    return replace(facts, **changes)


def test_every_kind_of_entry_has_its_accounts() -> None:
    """Absorbed cost is between the operator's own accounts; a byok call moves its fee alone."""
    assert {
        "usage": ("customer:acct_1", "revenue:usage"),
        "fee": ("customer:acct_1", "revenue:fee"),
        "byok": ("customer:acct_1", "revenue:byok"),
        "absorbed": ("absorbed", "revenue:usage"),
    } == ledger_accounts("acct_1")
    assert Moves(usage=1, fee=2, byok=0, absorbed=3) == moves_of(1, 2, 3, byok=False)
    assert Moves(usage=0, fee=0, byok=2, absorbed=3) == moves_of(0, 2, 3, byok=True)


def test_five_hundred_calls_cost_again_what_they_cost() -> None:
    """To the last unit, with the same rule, the same absorbed rest and the same cost of the provider."""
    random = Random(3)
    for number in range(500):
        made = random_settlement(random, number, "acct_1", CATALOGUE)
        row = made.row
        price = BOOK.find(str(row.price_version))
        assert price is not None

        again = reprice(price, facts_of(row))

        assert (row.price_rule, row.provider_cost, row.fee, row.absorbed) == (
            again.rule,
            again.charge.provider_cost,
            again.charge.fee,
            again.absorbed,
        )
        assert made.attempts[-1].upstream_cost == again.upstream_cost
        assert moves_of(row.provider_cost, row.fee, row.absorbed, byok=row.mode == "byok") == again.moves
        assert row.cost == again.moves.cost


def test_without_the_cap_nothing_is_absorbed() -> None:
    """For comparisons of prices, where the hold would have been another too."""
    row = random_settlement(Random(1), 1, "a", CATALOGUE, ending=None, prompt=9_000, hold=10, byok=False).row
    price = BOOK.find(str(row.price_version))
    assert price is not None
    facts = facts_of(row, billing_outcome="complete")

    capped, free = reprice(price, facts), reprice(price, facts, capped=False)

    assert (10, 0) == (capped.charge.cost, free.absorbed)
    assert free.charge.cost == capped.charge.cost + capped.absorbed


def test_what_the_provider_charges_by_the_hour_is_found_by_the_hour() -> None:
    """The instant of the call decides, for its cost as for its price; with a key of the caller's own it is nothing."""
    dear = {"days": [4], "from": "00:00", "to": "12:00", "time_zone": "UTC", "input": Decimal(3), "output": Decimal(5)}
    cost = {"input": Decimal(1), "output": Decimal(2), "windows": [dear]}
    prices = [{"from": "2026-01-01T00:00:00Z", "input": Decimal(10), "output": Decimal(10), "cost": cost}]
    [price] = priced_catalogue(various=prices).models["various"].upstreams[0].prices
    morning = datetime(2026, 1, 1, 11, 59, 59, tzinfo=UTC)
    facts = Facts(
        instant=morning,
        mode="credits",
        billing_outcome="complete",
        usage=Usage(1_000_000, 1_000_000),
        fee_percent="5.5",
        held=10**12,
    )

    assert 8 * UNITS_PER_USD == reprice(price, facts).upstream_cost
    assert 3 * UNITS_PER_USD == reprice(price, replace(facts, instant=morning + timedelta(seconds=1))).upstream_cost
    assert 0 == reprice(price, replace(facts, mode="byok")).upstream_cost


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fee_percent": None}, "fee_percent"),
        ({"fee_percent": "much"}, "fee_percent"),
        ({"fee_percent": "-1"}, "fee_percent"),
        ({"usage": Usage(10, 1, 8, 3)}, "cached_tokens"),
    ],
)
def test_what_cannot_be_computed_is_named(change: dict[str, object], field: str) -> None:
    """By its field."""
    row = random_settlement(Random(1), 1, "a", CATALOGUE).row
    price = BOOK.find(str(row.price_version))
    assert price is not None
    with pytest.raises(NotPriced) as caught:
        reprice(price, facts_of(row, billing_outcome="complete", **change))

    assert field == caught.value.field


def test_an_adjustment_is_named_by_price_call_and_kind() -> None:
    """And read back, whatever colons stand in the version; of another call it is not."""
    version = "qwen-max:qwen/qwen:max@2026-01-01.2"
    for kind in Moves().by_kind():
        assert (version, kind) == version_of_adjustment(adjustment_id(version, "req_1", kind), "req_1")
    assert version_of_adjustment(adjustment_id(version, "req_1", "usage"), "req_2") is None
    assert version_of_adjustment(adjustment_id(version, "req_1", "tip"), "req_1") is None
    assert version_of_adjustment("req_1:usage", "req_1") is None
