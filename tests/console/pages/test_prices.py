"""Prices as the catalogue has them now, and estimates as calls are charged."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.pricing import Fee
from console.pages.prices import Plan, estimate, models_for_sale
from middlewares.errors import Refusal
from providers.catalogue import build, load_shipped
from tests.gateway import book

FEES = Fee.percent(Decimal("5.5")), Fee.percent(5)


def test_an_estimate_is_what_calls_would_be_charged() -> None:
    """Rounded call by call; one's own key costs the fee beyond the free calls alone."""
    plan = Plan(model="vendor/standard", prompt_tokens=1_000, cached_tokens=400, completion_tokens=500, calls=3)

    found = estimate(book("http://a", "http://b"), plan, *FEES, 1)

    # 600 × 0.14 + 400 × 0.014 + 500 × 0.28 USD per million = 0.0002296, and 5.5 % of it.
    assert {
        "provider_cost": "0.0002296",
        "fee": "0.00001263",
        "cost": "0.00024223",
        "month": "0.00072669",
        "own_key_month": "0.00002296",
    } == found.to_json()


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"model": "nothing"}, "model"), ({"model": "standard", "cached_tokens": 2_000}, "cached_tokens")],
)
def test_what_cannot_be_estimated(fields: dict[str, object], param: str) -> None:
    """With the field's name."""
    with pytest.raises(Refusal) as caught:
        estimate(book("http://a", "http://b"), Plan.model_validate(fields), *FEES, 0)

    assert param == caught.value.problem.param


def test_windows_and_tiers_are_told() -> None:
    """When a price applies, and which one does now."""
    catalogue = build(load_shipped())
    in_window = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
    by_night = datetime(2026, 11, 25, 22, 0, tzinfo=UTC)

    found = {one.model.id: one for one in models_for_sale(catalogue, in_window)}
    later = {one.model.id: one for one in models_for_sale(catalogue, by_night)}

    assert list(catalogue.models) == list(found)
    assert ["otherwise", "Mon–Fri 01:00–04:00 UTC", "Mon–Fri 06:00–10:00 UTC"] == [
        line.when for line in found["deepseek-chat"].lines
    ]
    assert ("0.3", "0.15") == (found["deepseek-chat"].current.input, later["deepseek-chat"].current.input)
    assert ["", "prompts over 256,000 tokens"] == [line.when for line in found["qwen-plus"].lines]
