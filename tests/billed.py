"""Random calls, billed as the gateway bills them: the matrix says who pays, metering's pricing what, the ledger keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from billing.matrix import Ending, decide
from billing.money import divide_half_up
from billing.pricing import NOTHING, RATE_UNITS_PER_MONEY_UNIT, Fee, Price, price_at
from billing.usage import Usage
from middlewares.call import Pricing
from providers.catalogue import Catalogue, Model, Upstream, build
from storage.calls import AttemptRow, CallRow
from storage.connection import Connection
from storage.identifiers import microseconds
from storage.ledger import Settlement, place_hold, post_settlement

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def priced_catalogue(**changes: Any) -> Catalogue:
    """Two models with everything a price can have; ``changes`` replace the prices of `various`."""
    peak = {"days": [1, 2, 3, 4, 5], "from": "09:00", "to": "12:00", "time_zone": "Asia/Shanghai"}
    various = [
        {
            "from": "2026-01-01T00:00:00Z",
            "input": Decimal("0.15"),
            "cached_input": Decimal("0.015"),
            "cache_write": Decimal("0.1875"),
            "output": Decimal("0.6"),
            "tiers": [{"above_prompt_tokens": 50_000, "input": Decimal("0.3"), "output": Decimal("1.2")}],
            "windows": [{**peak, "input": Decimal("0.31"), "output": Decimal("1.21")}],
            "cost": {
                "input": Decimal("0.1"),
                "output": Decimal("0.5"),
                "tiers": [{"above_prompt_tokens": 50_000, "input": Decimal("0.2"), "output": Decimal("1.1")}],
            },
        },
        {"from": "2026-03-01T00:00:00Z", "input": Decimal("0.17"), "output": Decimal("0.57")},
    ]
    plain = {"context": 1_000_000, "max_output": 100_000, "provider": "alpha"}
    other = [{"from": "2026-01-01T00:00:00Z", "input": Decimal("1.25"), "output": Decimal("4.75")}]
    return build(
        {
            "providers": {"alpha": {"dialect": "openai", "base_url": "https://alpha.example", "keys": ["k"]}},
            "models": {
                "various": {**plain, "upstream_model": "v-1", "prices": changes.get("various", various)},
                "other": {**plain, "upstream_model": "o-1", "prices": other},
            },
        }
    )


def random_settlement(random: Random, number: int, account_id: str, catalogue: Catalogue, **fixed: Any) -> Settlement:
    """A call of any kind, with its hold in the row; ``fixed`` names what is not left to chance."""
    model: Model = catalogue.models[fixed.get("model", random.choice(["various", "other"]))]
    upstream = model.upstreams[0]
    instant = BEGIN + timedelta(microseconds=random.randrange(110 * 86_400_000_000))
    price = price_at(upstream.prices, instant)
    assert price is not None
    ending = fixed.get("ending") or random.choice([Ending.COMPLETE] * 6 + [one for one in Ending if one.name[0] != "G"])
    prompt = fixed.get("prompt") or random.choice([random.randrange(1, 300), random.randrange(1, 200_000)])
    cached = random.randrange(prompt + 1)
    reported = Usage(prompt, random.randrange(1, 20_000), cached, random.randrange(prompt - cached + 1), 0)
    bill = decide(
        ending,
        reported if fixed or random.random() < 0.8 else None,
        prompt_bytes=prompt * 3,
        produced_bytes=random.randrange(1, 9_000),
        completion_limit=random.choice([100, 10_000]),
    )
    byok = fixed.get("byok", random.random() < 0.25)
    free = byok and random.random() < 0.5
    fee = None if free else Fee.percent(Decimal(5) if byok else random.choice([Decimal("5.5"), Decimal(0)]))
    hold = fixed.get("hold") or random.choice([10**8, 10**8, random.randrange(1, 500_000)])
    pricing = Pricing(price, instant, hold, fee, fee_only=byok)
    charge, absorbed = pricing.charge_for(bill.usage) if bill.payable else (NOTHING, 0)
    upstream_cost = 0 if byok else _upstream_cost(price, instant, bill.usage)
    row = CallRow(
        request_id=f"req_{number:06d}",
        created=microseconds(instant),
        account_id=account_id,
        key_id="key_1",
        path="/v1/chat/completions",
        requested_model=model.id,
        model=model.id,
        provider=upstream.provider.name,
        mode="byok" if byok else "standard",
        payer="provider_key" if byok else "credits",
        streamed=random.random() < 0.5,
        status=200,
        billing_outcome=ending.value,
        usage_source=bill.usage_source,
        estimated=bill.estimated,
        anomalous=absorbed > 0,
        prompt_tokens=bill.usage.prompt_tokens,
        cached_tokens=bill.usage.cached_tokens,
        cache_write_tokens=bill.usage.cache_write_tokens,
        completion_tokens=bill.usage.completion_tokens,
        reasoning_tokens=bill.usage.reasoning_tokens,
        held=hold,
        provider_cost=charge.provider_cost,
        fee=charge.fee,
        cost=charge.cost,
        absorbed=absorbed,
        price_version=price.version,
        price_rule=price.applied_at(instant, bill.usage.prompt_tokens)[0],
        fee_percent=pricing.fee_percent,
        latency_ms=random.randrange(9_000),
    )
    attempts = [_attempt(1, upstream, model, Usage(0, 0), 0, "operator")] if random.random() < 0.2 else []
    bearer = "account" if bill.payable else "operator"
    attempts.append(_attempt(len(attempts) + 1, upstream, model, bill.usage, upstream_cost, bearer))
    return Settlement(row, tuple(attempts), delivered=bill.payable)


def settle(connection: Connection, settlement: Settlement) -> None:
    """Hold and settle the call in the real ledger."""
    held = place_hold(connection, settlement.request_id, settlement.account_id, (settlement.row.held,), None, "p", 0, 1)
    assert not isinstance(held, Exception), held
    post_settlement(connection, settlement, 1_800_000_000_000_000)


def _upstream_cost(price: Price, instant: datetime, usage: Usage) -> int:
    exact = price.upstream_rates_at(instant, usage.prompt_tokens).exact_cost(usage)
    return divide_half_up(exact, RATE_UNITS_PER_MONEY_UNIT)


def _attempt(number: int, upstream: Upstream, model: Model, usage: Usage, cost: int, bearer: str) -> AttemptRow:
    return AttemptRow(
        number=number,
        provider=upstream.provider.name,
        model=model.id,
        upstream_model=upstream.upstream_model,
        outcome="served",
        status=200,
        code="",
        latency_ms=10,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        upstream_cost=cost,
        borne_by=bearer if cost else "nobody",
    )
